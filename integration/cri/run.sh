#!/bin/bash
# Runs the tests of containerd's CRI with Debian 13's containerd 1.7, which has user namespaces and is unpacked into the cache.
# usage: integration/cri/run.sh HOST RUNTIME      HOST as for integration/suites.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
kept=$cache/containerd
if [ ! -e "$kept/ready" ]; then
	box=$(mktemp -d)
	trap 'rm -rf "$box"' EXIT
	(apt_fetch "$host" trixie "$box" containerd) >&2
	rm -rf "$kept"
	mkdir -p "$kept"
	dpkg -x "$box"/containerd_*.deb "$kept"
	: > "$kept/ready"
fi
client=$("$top/integration/cri/build.sh")
PATH=$kept/usr/bin:$client:$PATH RUNTIME=$2 IT_ARGS="--ignored cri_engines" \
	"$top/integration/suites.sh" "$1" $("$top/integration/programs.sh" kernel)
