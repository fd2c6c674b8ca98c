# shellcheck shell=bash disable=SC2034,SC2154
# Sourced after common.sh: makes cargo use the compiler that cross/toolchain.sh fetched.
_r=$cache/cross/root/usr
libraries=$(echo "$_r"/lib/*-linux-gnu*) linker=$_r/lib/llvm-19/bin/ld.lld
export LD_LIBRARY_PATH=$libraries:$_r/lib/llvm-19/lib
export RUSTC=$_r/bin/rustc RUSTDOC=$_r/bin/rustdoc CARGO=$_r/bin/cargo RUSTC_BOOTSTRAP=1
