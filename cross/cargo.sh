#!/bin/bash
# Runs a cargo command for TARGET with the compiler of cross/toolchain.sh and the flags of a release.
# usage: cross/cargo.sh TARGET COMMAND [ARGUMENT...]
# CROSS_PANIC=abort: panics with their texts (README.md says what a release has instead).
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -ge 2 ] || die "usage: cross/cargo.sh TARGET COMMAND [ARGUMENT...]"
target=$1 command=$2
shift 2
target_facts "$target"
t=$("$here/toolchain.sh" "$target")
. "$here/env.sh"
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src

flags=(
	-Clinker="$linker" -Clinker-flavor=ld.lld
	-Ctarget-feature=+crt-static     # riscv64's default is a dynamic musl
	-Crelocation-model=static        # a position-independent executable costs 3%
	-Cforce-unwind-tables=no         # nothing unwinds
	-Csymbol-mangling-version=v0     # the link map names the types of generics, for cross/size.py
	-Clink-arg=--icf=all             # functions with the same code become one
	-Clink-arg=-zmax-page-size=65536 # ARM kernels have pages of 4, 16 or 64 KiB; addresses are apart, the file is no longer
	-Clink-arg=--build-id=none
	# The allocator is linked in after each crate was optimised. Stores that were merged by then stand in the way of leaving
	# out what gives memory back, which does nothing (src/sys/heap.rs).
	-Cllvm-args=-simplifycfg-sink-common=false
	# What is called once would otherwise become part of its caller without end, and an operand far out on a large stack is
	# a longer instruction.
	-Cllvm-args=-inline-max-stacksize=256
	# Loops that only look at memory come to an end, as in C: no code here waits by looking. Then what is left of giving memory
	# back, the walks through lists whose items hold some, is left out (1% of a binary).
	-Cllvm-args=-force-attribute=mustprogress
	# What would name this machine in the binary, replaced: builds in two folders are the same.
	--remap-path-prefix="$top=embrun" --remap-path-prefix="$registry=crates"
	--remap-path-prefix="$t/root/usr/src=rust" --remap-path-prefix="$t/root/usr/lib/rustlib/src=rust"
)
case $target in
armv7-*) flags+=(-Ctarget-feature=+thumb-mode) ;;
# Atomic operations as functions that choose an instruction, and what finds out which at each start, are 2 KB.
aarch64-*) flags+=(-Ctarget-feature=-outline-atomics) ;;
esac
std=std,panic_abort more=()
# Tests are small programs too, each of which aborts: one standard library does. Crates that are only oracles stay out.
panic=${CROSS_PANIC:-immediate-abort}
[ "$command" != test ] || { std+=,test more=(-Zpanic-abort-tests) flags+=(--cfg=no_oracles) panic=abort; }
[ "$panic" = abort ] || flags+=(-Zunstable-options "-Cpanic=$panic")
# 64-bit time on 32-bit ARM: otherwise libc's time_t ends in 2038. Inside, musl 1.2 has only the 64-bit one. The crate is
# told by the flag; the older libc that the standard library is built with knows only the variable, which is to go.
flags+=(--cfg=libc_unstable_musl_v1_2)
export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
export CARGO_ENCODED_RUSTFLAGS
CARGO_ENCODED_RUSTFLAGS=$(
	IFS=$'\x1f'
	printf '%s' "${flags[*]}"
)
# The builder's own settings stay out of a release.
unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
cd "$top"
exec "$CARGO" "$command" --locked --target "$target" --target-dir target/cross -Zbuild-std=$std \
	-Zbuild-std-features=optimize_for_size "${more[@]}" "$@"
