#!/bin/bash
# Builds the gateway's services as static programs, and a root file system for each of them: OUT/SERVICE/rootfs has the program, the
# public files of CERTS (ca.crt, command.pub, firmware.pub; later if not given), and a passwd file. OUT/gateway-tool is the cloud's
# side. A repeated build takes a second.
# usage: rootfs-fixtures/gateway/build.sh TARGET OUT [CERTS]      TARGET: host, or a target of cross/toolchain.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
[ $# -ge 2 ] || {
	echo "usage: $0 TARGET OUT [CERTS]" >&2
	exit 2
}
target=$1 out=$2 certs=${3:-}
manifest=$here/services/Cargo.toml
services="data-collector data-processor uplink device-controller firmware-updater"
if [ "$target" = host ]; then
	"$top/integration/needs.sh" build
	built=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/gateway
	host=$(rustc -vV | sed -n 's/^host: //p')
	RUSTFLAGS='-C target-feature=+crt-static' CARGO_TARGET_DIR=$built ${CARGO:-cargo} build -q --release --locked --bins \
		--manifest-path "$manifest" --target "$host" >&2
	built=$built/$host/release
else
	"$top/integration/needs.sh" release
	# ring has C and assembler code, for which the toolchain of a release has no compiler.
	. "$here/clang.sh" "$target"
	# The services keep their panic messages.
	CROSS_PANIC=abort "$top/cross/cargo.sh" "$target" build -q --release --bins --manifest-path "$manifest" >&2
	built=$top/target/cross/$target/release
fi
for service in $services; do
	root=$out/$service/rootfs
	mkdir -p "$root"/{dev,proc,tmp,data,run/gateway,etc/gateway}
	cmp -s "$built/$service" "$root/$service" || install -m 755 "$built/$service" "$root/$service"
	printf 'gateway:x:1000:1000:gateway:/:/nonexistent\n' > "$root/etc/passwd"
	for file in ca.crt command.pub firmware.pub; do
		[ ! -e "${certs:-/nonexistent}/$file" ] || install -m 644 "$certs/$file" "$root/etc/gateway/$file"
	done
done
cmp -s "$built/gateway-tool" "$out/gateway-tool" || install -m 755 "$built/gateway-tool" "$out/gateway-tool"
