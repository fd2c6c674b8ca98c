#!/bin/bash
# Builds embrun as one static program with the host's own compiler and prints its path. `make release` builds smaller ones.
# usage: integration/static.sh
set -euo pipefail
cd "$(dirname "$0")/.."
integration/needs.sh build
# With an explicit target, cargo does not apply the flags to macros and build scripts, which cannot be static.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS='-C target-feature=+crt-static' ${CARGO:-cargo} build -q --release --locked --bin embrun --target "$host" >&2
echo "$PWD/${CARGO_TARGET_DIR:-target}/$host/release/embrun"
