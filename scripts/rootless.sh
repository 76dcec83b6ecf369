#!/bin/sh
# Run a command without root's powers, as root of a user namespace. A plain user goes by as_root.sh. Root hands over to
# `nobody`, if nobody can reach the environment's Python and this checkout; else it stays root in name alone: a user
# namespace takes from it what the kernel grants the real one (trusted.* attributes, quota, block devices).
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
# By way of env: setpriv itself may still have root's capabilities at the moment of its exec.
if $as_nobody env "${PYTHON:-$here/../.venv/bin/python}" -c "import ansible" 2>/dev/null; then
    chown -R nobody:nogroup "$home"
    $as_nobody "$here/as_root.sh" "$@"
else
    echo "The user nobody can't reach this checkout or its Python: as root of a user namespace that maps root alone."
    unshare --user --map-root-user --mount -- "$@"
fi
