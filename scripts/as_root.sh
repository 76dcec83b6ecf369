#!/bin/sh
# Run a command as root: directly where we are root, else as root of a new user namespace, where the kernel allows
# overlay mounts with `userxattr`. With newuidmap and an entry in /etc/subuid more than one user id can be used there.
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
    echo "Not root, and no user namespace can be made here: $problem" >&2
    echo "Run as root, or let users make namespaces: sysctl kernel.unprivileged_userns_clone=1," >&2
    echo "kernel.apparmor_restrict_unprivileged_userns=0 or user.max_user_namespaces, whichever this host has." >&2
    exit 1
fi
echo "Not root: running in a user namespace, $scope. Mounts end with it; no quota, no trusted.* attributes."
# Ansible would take ~root for its temporary files, which is the real root's.
ANSIBLE_REMOTE_TMP=${ANSIBLE_REMOTE_TMP:-$HOME/.ansible/tmp}
export ANSIBLE_REMOTE_TMP
exec unshare --user --map-root-user $ids --mount -- "$@"
