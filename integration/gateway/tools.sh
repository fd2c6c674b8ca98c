#!/bin/bash
# Fetches the programs for docker Swarm, and prints their folders for the front of PATH: Debian's docker, its registry and
# containerd. They are unpacked into the cache, because their packages would start services.
# usage: integration/gateway/tools.sh
set -euo pipefail
kept=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/registry
if [ ! -e "$kept/ready" ]; then
	box=$(mktemp -d)
	trap 'rm -rf "$box"' EXIT
	(cd "$box" && apt-get -qq -o APT::Sandbox::User=root download docker-registry >&2)
	rm -rf "$kept"
	mkdir -p "$kept"
	dpkg -x "$box"/docker-registry_*.deb "$kept"
	: > "$kept/ready"
fi
echo "$("$(dirname "$0")/../docker.sh"):$kept/usr/bin"
