#!/bin/bash
# Checks that embrun compiles for 32-bit ARM with glibc, the usual C library of Yocto and Buildroot. No release is built with it, and
# some types have other widths than with musl. It only runs `cargo check`, because there is no glibc here to link with.
# usage: cross/glibc-check.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=armv7-unknown-linux-gnueabihf
# The compiler is the same for every target; the musl that is fetched with it is not used.
"$here/toolchain.sh" x86_64-unknown-linux-musl > /dev/null
. "$here/env.sh"
cd "$top"
unset CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
RUSTFLAGS=-Dwarnings "$CARGO" check --quiet --locked --release --bin embrun --target $target --target-dir target/cross \
	-Zbuild-std=std,panic_abort
say "embrun compiles for $target"
