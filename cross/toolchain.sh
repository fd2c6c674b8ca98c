#!/bin/bash
# Brings what `make release` compiles with into the cache: Debian's newer Rust (rustc-web) with the source of its
# standard library, LLVM's linker, and musl for each TARGET asked for. Nothing is installed on the machine.
# usage: cross/toolchain.sh TARGET...      prints the folder it filled
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
[ $# -gt 0 ] || die "usage: cross/toolchain.sh TARGET... (of: $targets)"
t=$cache/cross
mkdir -p "$t"
exec 9> "$t/.lock"
flock 9

# needed PACKAGE...: the libraries that these want, and those that the libraries want; not those of gcc's and glibc's own packages,
# which every machine with a gcc has. Debian's newer Rust comes with a new version from time to time: no name here holds one.
needed() {
	local direct
	direct=$(apt-cache depends --important "$@" | sed -n 's/^  Depends: \(lib[^ ]*\)$/\1/p' | sort -u)
	# shellcheck disable=SC2086
	apt-cache depends --recurse --important $direct | grep -xE 'lib[^ ]*|zlib1g' | grep -vxE 'libc6|libgcc-s1|libstdc.*|libcrypt1' | sort -u
}

# The libraries that the programs here want and neither this folder nor the machine has.
lacking() { ldd "$RUSTC" "$CARGO" "$linker" | sed -n 's/^\t\([^ ]*\) => not found.*/\1/p' | sort -u; }

# Compiler and library source must be of one version, so they are always fetched together; anew too where the machine has lost a
# library since.
. "$here/env.sh"
if [ ! -e "$t/ready" ] || ! names=$(lacking) || [ -n "$names" ]; then
	say "fetching the compiler, its standard library's source and the linker"
	rm -rf "$t/ready" "$t/debs" "$t/root" "$t/spare"
	# An index of today, for what an older one names may be gone.
	rm -rf "$cache/apt/bookworm-$host/ready"
	programs="rustc-web cargo-web rust-web-src lld-19"
	# shellcheck disable=SC2086
	(apt_root bookworm "$host" && needed $programs) > "$t/wanted" || die "no index of bookworm for $host"
	grep -q '^libstd-rust-web-[0-9]' "$t/wanted" || die "rustc-web has another shape than this script knows"
	# shellcheck disable=SC2046,SC2086
	apt_fetch "$host" bookworm "$t/debs" $programs $(cat "$t/wanted")
	for d in "$t"/debs/*.deb; do
		case ${d##*/} in lib* | zlib*) into=$t/spare ;; *) into=$t/root ;; esac
		case ${d##*/} in libstd-rust* | libllvm*) into=$t/root ;; esac
		dpkg -x "$d" "$into"
	done
	. "$here/env.sh"
	# Of the others the machine's own are used, and only those that it lacks are taken: what cargo calls, such as gcc, sees them too.
	while names=$(lacking) && [ -n "$names" ]; do
		for name in $names; do
			found=$(find "$t/spare" -name "$name" | head -n 1)
			[ -n "$found" ] || die "the compiler wants $name, which is in none of its packages"
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
	# riscv64 entered Debian with trixie; the later suites stand by for a mirror with a stale index.
	case $arch in riscv64) suites="trixie forky sid" ;; *) suites=bookworm ;; esac
	apt_fetch "$arch" "$suites" "$t/musl-$arch" musl-dev
	dpkg -x "$t/musl-$arch"/*.deb "$t/musl-$arch"
	# The folder that rustup's musl targets bring along, laid out the same.
	cp "$t/musl-$arch/usr/lib/$musl"/{crt1.o,crti.o,crtn.o,libc.a} "$d/"
	dpkg-deb -f "$t/musl-$arch"/*.deb Version > "$d/musl-version"
	# gcc's crtbegin and crtend are for C++ and for unwinding. Nothing here unwinds: panics abort, and no backtrace is
	# printed. So they are empty, and the unwinder is `unwind.rs`, which says at once that there is no caller.
	"$RUSTC" --target "$target" -Cpanic=abort -Copt-level=s --crate-type=lib --emit=obj="$d/crtbegin.o" "$here/empty.rs"
	cp "$d/crtbegin.o" "$d/crtend.o"
	"$RUSTC" --target "$target" -Cpanic=abort -Copt-level=s -Cforce-unwind-tables=no --crate-type=lib --emit=obj="$d/unwind.o" "$here/unwind.rs"
	ar rcS "$d/libunwind.a" "$d/unwind.o"
	rm "$d/unwind.o"
	: > "$d/ready"
done
echo "$t"
