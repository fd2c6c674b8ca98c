#!/bin/bash
# Builds what a guest's site needs apart from embrun: OUT/images, OUT/sensor, and the keys and certificates.
# usage: integration/gateway/guest-parts.sh host|TARGET OUT ADDRESS      ADDRESS: the cloud's
# env: IMAGES: an earlier output of rootfs-fixtures/gateway/build.sh TARGET; TOOL: a gateway-tool that runs here
set -euo pipefail
own=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$own/../.." && pwd)
target=$1 out=$2 address=$3
native=$(rustc -vV | sed -n 's/^host: //p')
if [ -n "${IMAGES:-}" ]; then ln -s "$(realpath "$IMAGES")" "$out/images"; else "$top/rootfs-fixtures/gateway/build.sh" "$target" "$out/images"; fi
if [ "$target" = host ]; then
	built=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/sensor
	RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=$built cargo build -q --release --locked \
		--manifest-path "$own/sensor/Cargo.toml" --target "$native" >&2
	built=$built/$native
else
	"$top/cross/cargo.sh" "$target" build --quiet --release --manifest-path "$own/sensor/Cargo.toml" >&2
	built=$top/target/cross/$target
fi
cp "$built/release/sensor" "$out/sensor"
# The native tool makes the keys, whatever the guest's processor is.
tool=$out/images/gateway-tool
if [ "$target" != host ]; then
	tool=${TOOL:-$out/native/gateway-tool}
	[ -n "${TOOL:-}" ] || "$top/rootfs-fixtures/gateway/build.sh" host "$out/native"
fi
"$own/certs.sh" "$out" "$tool" "cloud=$address" client
