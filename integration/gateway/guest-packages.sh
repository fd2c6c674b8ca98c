#!/bin/bash
# Unpacks Debian's mosquitto, with the libraries that it needs, for an architecture into the cache, and prints the folder. The guests
# have no package manager; nothing is installed on this machine.
# usage: integration/gateway/guest-packages.sh amd64|arm64|armhf
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
arch=${1:-}
case $arch in amd64 | arm64 | armhf) ;; *) die "usage: guest-packages amd64|arm64|armhf" ;; esac
packages="mosquitto mosquitto-clients libmosquitto1 busybox-static libc6 libcap2 libcjson1 libdlt2 libssl3 libsystemd0 libwrap0 libnsl2 libtirpc3 libgssapi-krb5-2
 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 libkeyutils1 libgcrypt20 libgpg-error0 liblz4-1 liblzma5 libzstd1 libgcc-s1"
tree=$cache/gateway/packages-$arch
mkdir -p "$tree"
exec 9> "$tree.lock"
flock 9
stamp=$(cksum < "$0")
if [ "$(cat "$tree.stamp" 2> /dev/null)" != "$stamp" ]; then
	say "fetching mosquitto for $arch"
	rm -rf "$tree" "$tree.debs"
	# shellcheck disable=SC2086  # words on purpose
	apt_fetch "$arch" bookworm "$tree.debs" $packages
	mkdir -p "$tree"
	for p in "$tree.debs"/*.deb; do dpkg-deb -x "$p" "$tree"; done
	rm -rf "$tree.debs" "${tree:?}"/usr/share "$tree"/usr/lib/*/gconv "$tree"/usr/lib/systemd "${tree:?}"/etc
	echo "$stamp" > "$tree.stamp"
fi
echo "$tree"
