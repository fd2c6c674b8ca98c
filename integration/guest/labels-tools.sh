#!/bin/bash
# Prints the path of a directory with apparmor_parser and secilc of Debian, which are fetched once and kept in the cache, and not
# installed.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/labels
mkdir -p "$cache"
exec 9> "$cache/.lock"
flock 9
if [ ! -e "$cache/complete" ]; then
	fetch() { (cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download apparmor secilc libsepol2); }
	fetch 2> /dev/null || { apt-get -qq update && fetch; } >&2
	for package in "$cache"/*.deb; do dpkg -x "$package" "$cache"; done
	rm -f "$cache"/*.deb
	touch "$cache/complete"
fi
echo "$cache"
