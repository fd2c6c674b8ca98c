# shellcheck shell=bash disable=SC2154
# Sourced by build.sh with a TARGET: fetches Debian's clang, which compiles for every target, into the cache of cross/toolchain.sh, and
# sets the variables by which the build of the crate `ring` finds it.
_target=$1
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
target_facts "$_target"
_t=$("$here/toolchain.sh" "$_target")
_clang=$cache/clang
if [ ! -e "$_clang/ready" ]; then
	(
		exec 9> "$cache/.clang.lock"
		flock 9
		[ ! -e "$_clang/ready" ] || exit 0
		say "fetching a C compiler"
		rm -rf "$_clang"
		apt_fetch "$host" bookworm "$_clang/debs" clang-19 libclang-cpp19 libclang-common-19-dev
		for d in "$_clang"/debs/*.deb; do dpkg -x "$d" "$_clang/root"; done
		rm -r "$_clang/debs"
		: > "$_clang/ready"
	)
fi
_c=$_clang/root/usr/lib
# A C compiler for one target: clang with the headers of its musl.
cat > "$_clang/cc-$arch" << A
#!/bin/sh
export LD_LIBRARY_PATH=$(echo "$_c"/*-linux-gnu):$_t/root/usr/lib/llvm-19/lib:$(echo "$_t"/root/usr/lib/*-linux-gnu)
exec $_c/llvm-19/bin/clang --target=$musl -nostdlibinc -isystem $_t/musl-$arch/usr/include/$musl "\$@"
A
chmod 755 "$_clang/cc-$arch"
export "CC_${_target//-/_}=$_clang/cc-$arch"
