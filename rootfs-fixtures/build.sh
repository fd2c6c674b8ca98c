#!/bin/sh
# Builds the root file system of the tests, the demo and the README in the cache, and prints its path. It contains busybox from
# Debian's busybox-static and, without --bare, the probe (integration/probe) as a static program. It is rebuilt only if this
# script or the probe changed.
# usage: rootfs-fixtures/build.sh [--bare]        env: XDG_CACHE_HOME, CARGO
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/embrun
root=$cache/rootfs
mkdir -p "$cache"
exec 9> "$cache/.rootfs.lock"
flock 9

stamp=$(cksum < "$here/build.sh")
if [ "$(cat "$cache/rootfs.stamp" 2> /dev/null)" != "$stamp" ]; then
	new=$cache/rootfs.new
	rm -rf "$new" "$root"
	mkdir -p "$cache/busybox" "$new/bin"
	if [ ! -x "$cache/busybox/bin/busybox" ]; then
		(cd "$cache/busybox" && { apt-get -qq -o APT::Sandbox::User=root download busybox-static ||
			{ apt-get -qq update && apt-get -qq -o APT::Sandbox::User=root download busybox-static; }; }) >&2
		dpkg -x "$cache"/busybox/busybox-static_*.deb "$cache/busybox"
		rm -f "$cache"/busybox/*.deb
	fi
	cp "$cache/busybox/bin/busybox" "$new/bin/busybox"
	for applet in cut xargs sh true false echo cat ls sleep id env hostname ps mount umount mkdir rmdir rm mv cp ln touch chmod \
		chown head tail grep sed awk wc sort tr stat readlink test expr date uname df du dd kill stty tty seq \
		ip ifconfig ping vi find tar nproc free sync whoami printenv pwd top setsid chroot yes tee; do
		ln -s busybox "$new/bin/$applet"
	done
	(cd "$new" && mkdir -p dev etc home/user proc root run sys tmp usr/bin usr/sbin sbin var/tmp)
	chmod 1777 "$new/tmp" "$new/var/tmp"
	chmod 700 "$new/root"
	chown 1000:1000 "$new/home/user"
	printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n' > "$new/etc/passwd"
	printf 'root:x:0:\nuser:x:1000:\n' > "$new/etc/group"
	printf 'NAME="embrun fixture"\nID=embrun-fixture\n' > "$new/etc/os-release"
	mv "$new" "$root"
	echo "$stamp" > "$cache/rootfs.stamp"
fi

if [ "${1:-}" != --bare ]; then
	target=$(rustc -vV | sed -n 's/^host: //p')
	RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=$cache/probe ${CARGO:-cargo} build -q --release --locked \
		--manifest-path "$here/../integration/probe/Cargo.toml" --target "$target" >&2
	cmp -s "$cache/probe/$target/release/probe" "$root/bin/probe" ||
		install -m 755 "$cache/probe/$target/release/probe" "$root/bin/probe"
fi
echo "$root"
