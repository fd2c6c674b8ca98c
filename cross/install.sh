#!/bin/sh
# Installs embrun as make install does, and is what the packages call: the program, manual pages, completions, and seccomp profiles
# below $DESTDIR$PREFIX. Without a program it installs the other files.
# usage: cross/install.sh [PROGRAM]      env: DESTDIR, PREFIX (default: /usr/local), ZSH_COMPLETIONS: its directory below PREFIX
set -eu
umask 022
cd "$(dirname "$0")/.."
to=${DESTDIR:-}${PREFIX:-/usr/local}
pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
cross/manual/generate.sh "$pages"
put() { # DIRECTORY FILE...
	dir=$to/$1
	shift
	mkdir -p "$dir"
	for file; do
		cp "$file" "$dir/"
		chmod 644 "$dir/${file##*/}"
	done
}
put share/man/man8 "$pages"/*.8
mv "$pages/embrun.bash" "$pages/embrun"
put share/bash-completion/completions "$pages/embrun"
put "${ZSH_COMPLETIONS:-share/zsh/site-functions}" "$pages/_embrun"
put share/fish/vendor_completions.d "$pages/embrun.fish"
put share/embrun/seccomp-profiles seccomp-profiles/*.json
[ $# = 0 ] || {
	mkdir -p "$to/bin"
	cp "$1" "$to/bin/embrun.new"
	chmod 755 "$to/bin/embrun.new"
	# A rename: the program may be running.
	mv "$to/bin/embrun.new" "$to/bin/embrun"
}
