#!/bin/bash
# Prints the path of Debian's busybox for armv7, which an aarch64 kernel runs as a program of a foreign architecture. It is
# fetched once and kept in the cache.
# usage: integration/guest/foreign.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
f=$cache/guest/foreign
if [ ! -e "$f/bin/busybox" ]; then
	rm -rf "$f.new"
	apt_fetch armhf "bookworm trixie" "$f.new" busybox-static >&2
	dpkg -x "$f.new"/busybox-static_*.deb "$f.new/root"
	mkdir -p "$f/bin"
	# Older releases have it in /bin, newer ones in /usr/bin.
	mv "$(find "$f.new/root" -type f -path '*bin/busybox')" "$f/bin/busybox"
	rm -rf "$f.new"
fi
echo "$f/bin/busybox"
