#!/bin/bash
# Builds TARGET as cross/README.md describes for users of rustup: `rustup target add`, then plain cargo. It checks that the binary is
# static and, on its own architecture, that it runs. Without rustup, or if it cannot fetch the target, the check is skipped, and
# integration/skips says whether that is allowed.
# usage: cross/rustup-check.sh [TARGET]      default: x86_64-unknown-linux-musl
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=${1:-x86_64-unknown-linux-musl}
target_facts "$target"
cd "$top"
skip() {
	allowed=$(awk '$1 == "rustup" { print $2 }' integration/skips)
	say "rustup: SKIPPED: $*"
	say "rustup: 1 test skipped; integration/skips allows ${allowed:-none}"
	[ "${allowed:-0}" -ge 1 ]
	exit
}
command -v rustup > /dev/null || skip "no rustup"
installed() { rustup target list --installed | grep -qx "$target"; }
if ! installed; then
	said=$(rustup target add "$target" 2>&1) || skip "rustup cannot fetch the target: $(grep -m 1 '^error' <<< "$said" || tail -n 1 <<< "$said")"
	# Restore the builder's toolchain at the end.
	trap 'rustup --quiet target remove "$target"' EXIT
fi
unset CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
RUSTFLAGS="-Clinker=rust-lld --cfg=libc_unstable_musl_v1_2" rustup run "$(rustup show active-toolchain | cut -d ' ' -f 1)" \
	cargo build --quiet --locked --release --bin embrun --target "$target" --target-dir target/rustup
f=target/rustup/$target/release/embrun
elf=$(readelf -lSdW "$f") && [[ $elf = *LOAD* ]] || die "readelf cannot read $f"
[[ $elf != *INTERP* && $elf != *NEEDED* ]] || die "$f is not static"
said="not run on $host"
[ "$arch" != "$host" ] || {
	said=$("$f" --version)
	[[ $said = "embrun version "* ]] || die "$f printed: $said"
}
say "rustup: $f: static, $(stat -c %s "$f") bytes, ${said%%$'\n'*}"
