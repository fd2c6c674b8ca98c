#!/bin/bash
# Docker's daemon and command line from Debian's package, unpacked beside the system: installed, its service would start.
# Prints the folders of its programs, for PATH.
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
