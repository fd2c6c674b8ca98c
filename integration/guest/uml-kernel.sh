#!/bin/bash
# Prints the path of a user-mode Linux kernel: Debian's user-mode-linux, which is fetched once and kept in the cache, and not
# installed.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/uml
mkdir -p "$cache"
exec 9> "$cache/.lock"
flock 9
if [ ! -x "$cache/usr/bin/linux.uml" ]; then
	fetch() { (cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download user-mode-linux); }
	fetch 2> /dev/null || { apt-get -qq update && fetch; } >&2
	dpkg -x "$cache"/user-mode-linux_*.deb "$cache"
	rm -f "$cache"/*.deb
fi
echo "$cache/usr/bin/linux.uml"
