#!/bin/bash
# Fetches the toolchain of `make release` into the cache: Debian's newer Rust (rustc-web) with the source of its standard library,
# LLVM's linker, and musl for each TARGET. Nothing is installed on the machine.
# usage: cross/toolchain.sh TARGET...      prints the folder
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || die "usage: cross/toolchain.sh TARGET... (of: $targets)"
t=$cache/cross
mkdir -p "$t"
exec 9> "$t/.lock"
flock 9

# needed PACKAGE...: the library packages that these need, also indirectly, except those of gcc and glibc, which every machine with a
# gcc has. No name contains a version, because Debian updates its newer Rust from time to time.
needed() {
	local direct
	direct=$(apt-cache depends --important "$@" | sed -n 's/^  Depends: \(lib[^ ]*\)$/\1/p' | sort -u)
	# shellcheck disable=SC2086
	apt-cache depends --recurse --important $direct | grep -xE 'lib[^ ]*|zlib1g' | grep -vxE 'libc6|libgcc-s1|libstdc.*|libcrypt1' | sort -u
}

# lacking: the libraries that the toolchain needs and that neither its folder nor the machine has.
lacking() { ldd "$RUSTC" "$CARGO" "$linker" | sed -n 's/^\t\([^ ]*\) => not found.*/\1/p' | sort -u; }

# Compiler and library source must have the same version, so they are always fetched together. They are fetched again if the machine
# has lost a library since.
. "$here/env.sh"
if [ ! -e "$t/ready" ] || ! names=$(lacking) || [ -n "$names" ]; then
	say "fetching the compiler, its standard library's source and the linker"
	rm -rf "$t/ready" "$t/debs" "$t/root" "$t/spare"
	# Use a fresh index: packages that an older one names may be gone.
	rm -rf "$cache/apt/bookworm-$host/ready"
	programs="rustc-web cargo-web rust-web-src lld-19"
	# shellcheck disable=SC2086
	(apt_root bookworm "$host" && needed $programs) > "$t/wanted" || die "cannot fetch the index of bookworm for $host"
	grep -q '^libstd-rust-web-[0-9]' "$t/wanted" || die "rustc-web has an unknown structure: no libstd-rust-web among its libraries"
	# shellcheck disable=SC2046,SC2086
	apt_fetch "$host" bookworm "$t/debs" $programs $(cat "$t/wanted")
	for d in "$t"/debs/*.deb; do
		case ${d##*/} in lib* | zlib*) into=$t/spare ;; *) into=$t/root ;; esac
		case ${d##*/} in libstd-rust* | libllvm*) into=$t/root ;; esac
		dpkg -x "$d" "$into"
	done
	. "$here/env.sh"
	# For other libraries the machine's own are preferred, because programs that cargo calls, such as gcc, see these folders too.
	while names=$(lacking) && [ -n "$names" ]; do
		for name in $names; do
			found=$(find "$t/spare" -name "$name" | head -n 1)
			[ -n "$found" ] || die "the compiler needs $name, which is in none of its packages"
			cp -L "$found" "$libraries/"
		done
	done
	for program in "$RUSTC" "$CARGO" "$linker"; do "$program" --version > /dev/null || die "$program does not run"; done
	rm -r "$t/debs" "$t/spare" "$t/wanted"
	: > "$t/ready"
fi

for target in "$@"; do
	target_facts "$target"
	d=$t/root/usr/lib/rustlib/$target/lib/self-contained
	[ ! -e "$d/ready" ] || continue
	say "musl for $target"
	rm -rf "$t/musl-$arch" "$d"
	mkdir -p "$d"
	# riscv64 is in Debian since trixie; the later suites are for mirrors with a stale index.
	case $arch in riscv64) suites="trixie forky sid" ;; *) suites=bookworm ;; esac
	apt_fetch "$arch" "$suites" "$t/musl-$arch" musl-dev
	dpkg -x "$t/musl-$arch"/*.deb "$t/musl-$arch"
	# The same layout as in the musl targets of rustup.
	cp "$t/musl-$arch/usr/lib/$musl"/{crt1.o,crti.o,crtn.o,libc.a} "$d/"
	dpkg-deb -f "$t/musl-$arch"/*.deb Version > "$d/musl-version"
	# gcc's crtbegin and crtend serve C++ and unwinding. Nothing here unwinds: panics abort, and no backtrace is printed. So
	# they are empty, and unwind.rs replaces the unwinder: it reports the end of the stack at once.
	"$RUSTC" --target "$target" -Cpanic=abort -Copt-level=s --crate-type=lib --emit=obj="$d/crtbegin.o" "$here/empty.rs"
	cp "$d/crtbegin.o" "$d/crtend.o"
	"$RUSTC" --target "$target" -Cpanic=abort -Copt-level=s -Cforce-unwind-tables=no --crate-type=lib --emit=obj="$d/unwind.o" "$here/unwind.rs"
	ar rcS "$d/libunwind.a" "$d/unwind.o"
	rm "$d/unwind.o"
	: > "$d/ready"
done
echo "$t"
