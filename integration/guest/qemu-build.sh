#!/bin/bash
# Builds the parts of an emulated guest: a Debian kernel, and an initramfs with a static busybox and the modules that the tests
# use. They are built once and kept in the cache, until this script changes.
# usage: integration/guest/qemu-build.sh NAME      prints their folder; the names are those below
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
PATH=$PATH:/usr/sbin:/sbin

name=${1:-}
case $name in
aarch64-6.12) arch=arm64 suites=trixie package=linux-image-arm64 ;;
aarch64-6.12-rt) arch=arm64 suites=trixie package=linux-image-rt-arm64 ;;
aarch64-6.12-16k) arch=arm64 suites=trixie package=linux-image-arm64-16k ;;
aarch64-6.1) arch=arm64 suites=bookworm package=linux-image-arm64 ;;
aarch64-5.10) arch=arm64 suites=bullseye package=linux-image-arm64 ;;
armv7-6.1) arch=armhf suites=bookworm package=linux-image-armmp-lpae ;;
armv7-6.1-armmp) arch=armhf suites=bookworm package=linux-image-armmp ;;
armv7-5.10) arch=armhf suites=bullseye package=linux-image-armmp-lpae ;;
x86_64-6.12) arch=amd64 suites=trixie package=linux-image-amd64 ;;
x86_64-6.1) arch=amd64 suites=bookworm package=linux-image-amd64 ;;
x86_64-5.10) arch=amd64 suites=bullseye package=linux-image-amd64 ;;
riscv64) arch=riscv64 suites="trixie forky sid" package=linux-image-riscv64 ;;
*) die "unknown guest ${name:-(none given)}; known: $(sed -n 's/^\([a-z0-9_.-]*\)) *arch=.*/\1/p' "$0" | tr '\n' ' ')" ;;
esac
# On 32-bit ARM, busybox handles times after 2038 from trixie on.
shells=${suites/bullseye/bullseye bookworm}
[ $arch != armhf ] || shells="trixie forky sid bookworm"
g=$cache/guest/$name stamp=$(cksum < "$0")
mkdir -p "$g"
exec 9> "$g/.lock"
flock 9
if [ "$(cat "$g/ready" 2> /dev/null)" = "$stamp" ]; then
	echo "$g"
	exit
fi
say "building the guest $name"
rm -rf "$g"/[a-z]*
mkdir -p "$g/debs" "$g/k" "$g/i"/{bin,mods,proc,sys,dev}

# The package above only depends on the newest kernel of its suite. If the mirror no longer has that one, an older one is used.
# Newer suites split a kernel into three packages.
fetch_kernel() {
	local s
	for s in $suites; do
		if (
			apt_root "$s" "$arch" || exit 1
			cd "$g/debs"
			names=$(apt-cache pkgnames linux-)
			newest=$(apt-cache depends "$package" | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p')
			older=$(sed -n "s/^\(linux-image-[0-9][0-9.]*[-+][^-]*-${package#linux-image-}\)\$/\1/p" <<< "$names" | sort -rV)
			for image in $newest $older; do
				parts=$(grep -xF -e "$image" -e "${image/image/binary}" -e "${image/image/modules}" <<< "$names")
				# shellcheck disable=SC2086
				apt-get -qq download $parts 2> /dev/null && exit 0
			done
			exit 1
		); then return; fi
		say "no kernel for $name in $s"
	done
	die "no kernel for $name in: $suites"
}
fetch_kernel
apt_fetch "$arch" "$shells" "$g/debs" busybox-static
for d in "$g"/debs/*.deb; do dpkg-deb -x "$d" "$g/k"; done
# riscv64 kernels may be uncompressed (vmlinux).
image=$(find "$g/k" -name 'vmlinu[zx]-*' | head -n 1 | grep .) || die "no kernel in the packages of $name"
modules=$(find "$g/k" -type d -path '*lib/modules/*' -prune)
version=${modules##*/}
cp "$image" "$g/vmlinuz"
find "$g/k" -name "config-$version" -exec cp {} "$g/config" \;
find "$g/k" -type f -path '*bin/busybox' -exec cp {} "$g/i/bin/busybox" \;

# The modules in the order of their dependencies. depmod and modprobe read modules of any architecture. A module that a kernel
# lacks is built in, or the tests do without it.
[ ! -d "$g/k/usr/lib/modules" ] || [ -d "$g/k/lib/modules" ] || ln -s usr/lib "$g/k/lib"
depmod -b "$g/k" "$version"
wanted="virtio_pci virtio_mmio virtio_console 9pnet_virtio 9p virtio_rng overlay squashfs ext4 virtio_blk loop fuse cuse veth dummy tun
 nf_tables configs"
n=100
for module in $wanted; do
	modprobe -d "$g/k" -S "$version" --show-depends "$module" 2> /dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || :
done | awk '!seen[$0]++' | while read -r ko; do
	n=$((n + 1)) to=$g/i/mods/$n-$(basename "${ko%.xz}")
	case $ko in *.xz) xz -dc "$ko" > "$to" ;; *) cp "$ko" "$to" ;; esac
done
(cd "$g/i" && find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -1) > "$g/initrd"
echo "$version" > "$g/version"
rm -rf "$g/k" "$g/i" "$g/debs"
echo "$stamp" > "$g/ready"
echo "$g"
