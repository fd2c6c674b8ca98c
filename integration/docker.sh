#!/bin/bash
# Unpacks Docker's daemon and command line from Debian's packages into the cache, and prints the folders of the programs, for
# PATH. They are not installed, because the package would start its service.
# usage: integration/docker.sh
set -euo pipefail
kept=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/docker
if [ ! -e "$kept/ready" ]; then
	box=$(mktemp -d)
	trap 'rm -rf "$box"' EXIT
	chmod 755 "$box"
	(
		cd "$box"
		apt-get -qq download docker.io >&2
		apt-get -qq download docker-cli > /dev/null 2>&1 || true
	)
	rm -rf "$kept"
	mkdir -p "$kept"
	for deb in "$box"/*.deb; do dpkg -x "$deb" "$kept"; done
	: > "$kept/ready"
fi
echo "$kept/usr/sbin:$kept/usr/bin"
