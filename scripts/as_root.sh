#!/bin/sh
# Run a command as root: directly if we are root, otherwise as root of a new user namespace, in which the kernel allows
# overlay mounts with `userxattr`. Several user ids can be used there with newuidmap and an entry in /etc/subuid.
set -eu

if [ "$(id -u)" -eq 0 ]; then
    exec "$@"
fi

user=$(id -un)
if command -v newuidmap >/dev/null && command -v newgidmap >/dev/null \
    && grep -qs "^\($user\|$(id -u)\):" /etc/subuid && grep -qs "^\($user\|$(id -u)\):" /etc/subgid; then
    ids=--map-auto
    scope="with the user ids that /etc/subuid grants"
else
    ids=
    scope="with one user id (for more: newuidmap and an entry in /etc/subuid)"
fi

if ! problem=$(unshare --user --map-root-user $ids --mount true 2>&1); then
    echo "Not root, and a user namespace cannot be created here: $problem" >&2
    echo "Run as root, or allow users to create namespaces: sysctl kernel.unprivileged_userns_clone=1," >&2
    echo "kernel.apparmor_restrict_unprivileged_userns=0 or user.max_user_namespaces, whichever this host has." >&2
    exit 1
fi
echo "Not root: running in a user namespace, $scope. Mounts end with it; quotas and trusted.* attributes are missing."
# Ansible would put its temporary files below ~root, which belongs to real root.
ANSIBLE_REMOTE_TMP=${ANSIBLE_REMOTE_TMP:-$HOME/.ansible/tmp}
export ANSIBLE_REMOTE_TMP
exec unshare --user --map-root-user $ids --mount -- "$@"
