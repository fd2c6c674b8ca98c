#!/bin/bash
# Builds crun as a static program in the cache, from Debian's newest source package that can be fetched and built, and prints
# its path. The index of a suite may name a source that cannot be fetched; then an older suite's is taken.
# usage: integration/bench/crun.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
box=$cache/bench/crun
[ ! -e "$box/ready" ] || {
	echo "$box/crun"
	exit 0
}
exec 3>&1 1>&2
for suite in sid trixie bookworm; do
	rm -rf "$box"
	mkdir -p "$box/tar" "$box/source" "$box/lib"
	say "fetching the source of crun from $suite"
	(apt_sources "$suite" && cd "$box/tar" && apt-get -qq source --download-only --tar-only crun) || continue
	tar -xf "$box"/tar/*.orig.tar.* -C "$box/source" --strip 1
	# Debian's static libyajl has another name than the shared one.
	ln -s "$(gcc -print-file-name=libyajl_s.a)" "$box/lib/libyajl.a"
	(
		cd "$box/source" &&
			{ [ -x configure ] || ./autogen.sh; } &&
			./configure --quiet --disable-systemd --disable-criu CFLAGS=-O2 LDFLAGS="-static -L$box/lib" &&
			make -s git-version.h &&
			make -s -j2 crun LDFLAGS="-all-static -L$box/lib"
	) > "$box/log" 2>&1 || {
		say "crun of $suite cannot be built: $(tail -n 1 "$box/log")"
		continue
	}
	cp "$box/source/crun" "$box/crun"
	rm -rf "$box/source" "$box/tar"
	: > "$box/ready"
	echo "$box/crun" >&3
	exit 0
done
die "no source of crun can be built"
