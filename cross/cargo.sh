#!/bin/bash
# Runs a cargo command for TARGET with the compiler of cross/toolchain.sh and the flags of a release.
# usage: cross/cargo.sh TARGET COMMAND [ARGUMENT...]
# env: CROSS_PANIC=abort keeps the panic messages (README.md describes the panics of a release)
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
	-Clink-arg=-zmax-page-size=65536 # ARM kernels have pages of 4, 16 or 64 KiB; the file does not grow
	-Clink-arg=--build-id=none
	# Freeing memory does nothing (src/sys/heap.rs), but LLVM sees that only at link time. Stores merged before then would keep
	# it from removing the code that frees.
	-Cllvm-args=-simplifycfg-sink-common=false
	# Loops without side effects end, as in C: no code here spins on memory. Then LLVM also removes the loops that would free
	# the items of lists (1% of a binary).
	-Cllvm-args=-force-attribute=mustprogress
	# Replace the paths of this machine, so that builds in two folders are identical.
	--remap-path-prefix="$top=embrun" --remap-path-prefix="$registry=crates"
	--remap-path-prefix="$t/root/usr/src=rust" --remap-path-prefix="$t/root/usr/lib/rustlib/src=rust"
)
# Functions called once are inlined without a limit otherwise, and operands at the far end of a large stack need longer
# instructions. aarch64 and x86_64 reach further with short ones.
stack=256
case $target in
armv7-*) flags+=(-Ctarget-feature=+thumb-mode) ;;
# Outlined atomics, which choose an instruction at run time, and their detection at each start cost 2 KB.
aarch64-*) flags+=(-Ctarget-feature=-outline-atomics) stack=1024 ;;
x86_64-*) stack=512 ;;
esac
flags+=("-Cllvm-args=-inline-max-stacksize=$stack")
std=std,panic_abort more=()
# Tests abort on a panic too, so that they use the same standard library. Crates that are only oracles are left out.
panic=${CROSS_PANIC:-immediate-abort}
[ "$command" != test ] || { std+=,test more=(-Zpanic-abort-tests) flags+=(--cfg=no_oracles) panic=abort; }
[ "$panic" = abort ] || flags+=(-Zunstable-options "-Cpanic=$panic")
# 64-bit time on 32-bit ARM: otherwise libc's time_t ends in 2038, while musl 1.2 itself has only a 64-bit one. The flag is for
# our libc crate; the older libc of the standard library knows only the variable, which newer ones drop.
flags+=(--cfg=libc_unstable_musl_v1_2)
export RUST_LIBC_UNSTABLE_MUSL_V1_2_3=1
export CARGO_ENCODED_RUSTFLAGS
CARGO_ENCODED_RUSTFLAGS=$(
	IFS=$'\x1f'
	printf '%s' "${flags[*]}"
)
# A release must not depend on the builder's own settings.
unset RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET CARGO_TARGET_DIR
cd "$top"
exec "$CARGO" "$command" --locked --target "$target" --target-dir target/cross -Zbuild-std=$std \
	-Zbuild-std-features=optimize_for_size "${more[@]}" "$@"
