#!/bin/bash
# Builds a disk with a small Debian for an emulated guest: the programs that the tests call (a shell, util-linux, ps, tini), crun
# and runc. The packages are only unpacked, so it works for a foreign architecture. The disk is kept in the cache.
# usage: integration/guest/qemu-root.sh arm64|armhf      prints the path of the disk; busybox-ARCH is in the same folder
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
arch=${1:-}
case $arch in arm64 | armhf) ;; *) die "usage: qemu-root arm64|armhf" ;; esac
packages="base-files bash coreutils dash findutils grep sed mawk procps tini util-linux mount busybox-static crun runc libc6 libgcc-s1
 libcrypt1 libtinfo6 libncursesw6 libproc2-0 libsystemd0 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libzstd1 libcap2 libcap-ng0
 libaudit1 libseccomp2 libyajl2 libsmartcols1 libblkid1 libmount1 libuuid1 libudev1 libselinux1 libpcre2-8-0 libacl1 libattr1
 libgmp10 libpam0g perl-base"
d=$cache/guest
mkdir -p "$d"
exec 9> "$d/root-$arch.lock"
flock 9
stamp=$(cksum < "$0")
if [ "$(cat "$d/root-$arch.stamp" 2> /dev/null)" != "$stamp" ]; then
	say "building the disk for $arch"
	t=$d/root-$arch
	rm -rf "$t" "$t.debs" "$t.img"
	# shellcheck disable=SC2086  # words on purpose
	apt_fetch "$arch" bookworm "$t.debs" $packages
	mkdir -p "$t"/{proc,sys,dev,run,tmp,host,root,etc,it,mnt,var/tmp}
	for p in "$t.debs"/*.deb; do dpkg-deb -x "$p" "$t"; done
	rm -rf "$t"/usr/share/{doc,man,locale,info,bash-completion} "$t"/usr/lib/*/gconv "$t.debs"
	ln -sf bash "$t/bin/sh"
	ln -s mawk "$t/usr/bin/awk"
	size=$(du -sm "$t" | cut -f1)
	truncate -s $((size + 200))M "$t.img"
	PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -O ^metadata_csum,^64bit -d "$t" "$t.img"
	cp "$t/bin/busybox" "$d/busybox-$arch"
	rm -rf "$t"
	echo "$stamp" > "$d/root-$arch.stamp"
fi
echo "$d/root-$arch.img"
