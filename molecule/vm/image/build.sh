#!/bin/sh
# Build what a test VM boots from, out of Debian packages: OUT/{vmlinuz,initrd.img,root.ext4,id_ed25519,id_ed25519.pub}.
#
#   usage: build.sh OUT        (as root; OUT is a new folder)
#
# Nothing is installed on the host, and nothing is mounted: the kernel package is unpacked, the root file system comes
# from mmdebstrap as a folder and goes into an image by mke2fs -d. The host's own Debian mirror is used.
# VM_SUITE, VM_KERNEL_SUITE and VM_MIRROR say otherwise. The kernel is newer than the suite's own because overlayfs takes
# `lowerdir+` only from Linux 6.8 on.
set -eu
out=$1
here=$(cd "$(dirname "$0")" && pwd)
suite=${VM_SUITE:-bookworm}
kernel_suite=${VM_KERNEL_SUITE:-bookworm-backports}
# shellcheck disable=SC2016 # apt expands this, not the shell
mirror=${VM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' "Codename: $suite" | head -n 1)}
[ -n "$mirror" ] || { echo "no Debian mirror of $suite in the host's apt sources: set VM_MIRROR" >&2; exit 1; }
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-1700000000}"

mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

# --- the kernel: apt with a state of its own leaves the host's sources and packages alone
mkdir -p "$work/apt/lists/partial" "$work/apt/cache/archives/partial" "$work/kernel"
echo "deb [signed-by=$keyring] $mirror $kernel_suite main" >"$work/apt/sources.list"
set -- -qq -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root
apt-get "$@" update
version=$(apt-cache "$@" madison linux-image-cloud-amd64 |
    awk -F' *[|] *' -v suite="$kernel_suite/" 'index($3, suite) {print $2; exit}')
package=$(apt-cache "$@" show "linux-image-cloud-amd64=$version" | awk '/^Depends:/ {print $2}')
(cd "$work" && apt-get "$@" download "$package")
dpkg -x "$work/$package"_*.deb "$work/kernel"
release=$(basename "$work"/kernel/boot/vmlinuz-*)
release=${release#vmlinuz-}
for option in XFS_QUOTA=y OVERLAY_FS=m EXT4_FS=y; do
    grep -q "^CONFIG_$option" "$work/kernel/boot/config-$release" ||
        { echo "kernel $release is built without $option" >&2; exit 1; }
done
cp "$work/kernel/boot/vmlinuz-$release" "$out/vmlinuz"

# --- the initramfs: busybox and the modules that are not built in, numbered in the order in which they load
tree=$work/kernel
[ -d "$tree/lib/modules" ] || tree=$work/kernel/usr
depmod -b "$tree" "$release"
ird=$work/initramfs
mkdir -p "$ird/bin" "$ird/modules" "$ird/dev" "$ird/proc" "$ird/sys" "$ird/root"
cp /bin/busybox "$ird/bin/"
ln -s busybox "$ird/bin/sh"
install -m 755 "$here/initramfs-init" "$ird/init"
number=10
for name in virtio_pci virtio_blk virtio_net virtio_rng virtio_console xfs overlay loop; do
    # fails for what is built in
    modprobe -d "$tree" -S "$release" --show-depends "$name" 2>/dev/null || true
done | awk '/^insmod/ && !seen[$2]++ {print $2}' | while read -r module; do
    number=$((number + 1))
    copy=$ird/modules/$number-$(basename "$module")
    cp "$module" "$copy"
    # busybox insmod takes plain files
    case $copy in
        *.xz) xz -d "$copy" ;;
        *.zst) zstd -qd --rm "$copy" ;;
    esac
done
(cd "$ird" && find . -print0 | sort -z | cpio --null --quiet --reproducible -o -H newc) >"$out/initrd.img"

# --- the root file system
ssh-keygen -q -t ed25519 -N '' -C overlay2-vm -f "$out/id_ed25519"
mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
    --include=python3,python3-pytest,python3-psutil,openssh-server,iproute2,xfsprogs,e2fsprogs,attr \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    "$suite" "$work/root" "$mirror"
install -D -m 600 "$out/id_ed25519.pub" "$work/root/root/.ssh/authorized_keys"
chmod 700 "$work/root/root/.ssh"
install -m 755 "$here/guest-init" "$work/root/sbin/guest-init"
install -m 644 "$here/code_cache.py" "$work/root/usr/lib/python3/dist-packages/"
echo 'import code_cache' >"$work/root/usr/lib/python3/dist-packages/code_cache.pth"
printf 'UseDNS no\nUsePAM no\nGSSAPIAuthentication no\nPrintMotd no\nMaxSessions 50\n' \
    >"$work/root/etc/ssh/sshd_config.d/vm.conf"
echo vm >"$work/root/etc/hostname"
mkdir -p "$work/root/srv/data"
# What is compiled now is not compiled at each boot: the image is never written to. Some test files can't be compiled.
chroot "$work/root" python3 -m compileall -q /usr/lib/python3.11 /usr/lib/python3/dist-packages >/dev/null 2>&1 || true
truncate -s "${VM_ROOT_SIZE:-2G}" "$out/root.ext4"
mke2fs -q -F -t ext4 -O '^has_journal' -E lazy_itable_init=1,nodiscard -d "$work/root" "$out/root.ext4"
echo "built: kernel $release, root $(du -m "$out/root.ext4" | cut -f1) MiB"
