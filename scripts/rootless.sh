#!/bin/sh
# Run a command without real root, as root of a user namespace. An unprivileged user gets there with as_root.sh. Root
# becomes `nobody` first, if that user can reach the checkout and its Python. Otherwise it only enters the namespace,
# where it lacks what the kernel grants real root alone: trusted.* attributes, quotas and block devices.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ "$(id -u)" -ne 0 ] || [ "$(awk '{print $3; exit}' /proc/self/uid_map)" != 4294967295 ]; then
    exec "$here/as_root.sh" "$@"
fi

home=$(mktemp -d /var/tmp/overlay2-rootless.XXXXXX)
trap 'rm -rf "$home"' EXIT
export HOME="$home" XDG_RUNTIME_DIR="$home/run" ANSIBLE_REMOTE_TMP="$home/.ansible/tmp"
mkdir -m 700 "$XDG_RUNTIME_DIR"
as_nobody="setpriv --reuid=nobody --regid=nogroup --clear-groups"
# With env in between: setpriv itself may still have root's capabilities at the moment of its exec.
if $as_nobody env "${PYTHON:-$here/../.venv/bin/python}" -c "import ansible" 2>/dev/null; then
    chown -R nobody:nogroup "$home"
    $as_nobody "$here/as_root.sh" "$@"
else
    echo "The user nobody cannot reach this checkout or its Python: running as root of a user namespace that maps only root."
    unshare --user --map-root-user --mount -- "$@"
fi
