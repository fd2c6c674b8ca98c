#!/bin/sh
# Builds the client of Kubernetes' container runtime interface in the cache, and prints its folder, for PATH.
# usage: integration/cri/build.sh      env: XDG_CACHE_HOME, CARGO
set -eu
target=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/cri
CARGO_TARGET_DIR=$target ${CARGO:-cargo} build -q --locked --manifest-path "$(dirname "$0")/Cargo.toml" >&2
echo "$target/debug"
