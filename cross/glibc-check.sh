#!/bin/bash
# Sees that embrun compiles for 32-bit ARM with glibc, the usual C library of Yocto and Buildroot, though no release is built with
# it: types are of other widths there than with musl. It compiles no further than the check, for nothing here links with glibc.
# usage: cross/glibc-check.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=armv7-unknown-linux-gnueabihf
# The compiler is the same for every target; the musl that comes along is not used.
"$here/toolchain.sh" x86_64-unknown-linux-musl > /dev/null
. "$here/env.sh"
cd "$top"
unset CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
RUSTFLAGS=-Dwarnings "$CARGO" check --quiet --locked --release --bin embrun --target $target --target-dir target/cross \
	-Zbuild-std=std,panic_abort
say "embrun compiles for $target"
