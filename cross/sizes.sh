#!/bin/bash
# Prints a table in Markdown with the sizes of embrun's release binaries (in target/dist) and of Debian's runc and crun for the same
# architectures.
# usage: cross/sizes.sh [--write]      --write puts the table into README.md between its two marks
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$top"
# The size of a program in a Debian package, which is fetched but not installed. A dash if the mirror has no package.
peer() { # ARCH PACKAGE
	local box=$cache/lint/peers/$1 file
	if ! compgen -G "$box/$2_*.deb" > /dev/null; then
		(apt_fetch "$1" "$([ "$1" = riscv64 ] && echo "trixie forky sid" || echo bookworm)" "$box" "$2") 2> /dev/null || {
			echo -
			return
		}
	fi
	for file in "$box/$2"_*.deb; do
		dpkg-deb --fsys-tarfile "$file" | tar -tv | awk -v p="/bin/$2\$|/sbin/$2\$" '/^-/ && $6 ~ p { print $3 }'
	done
}
thousands() { [ "$1" = - ] && echo - || echo "$((($1 + 500) / 1000))"; }

table() {
	echo '| KB | embrun, static | crun, dynamic | runc, dynamic |'
	echo '|---|---|---|---|'
	for target in $targets; do
		target_facts "$target"
		f=target/dist/$target/embrun
		[ -e "$f" ] || die "first: make release-all ($target is not built)"
		echo "| $target | $(thousands "$(stat -c %s "$f")") | $(thousands "$(peer "$arch" crun)") | $(thousands "$(peer "$arch" runc)") |"
	done
}
table=$(table)
[ "${1:-}" = --write ] || {
	echo "$table"
	exit 0
}
TABLE=$table perl -0pi -e 's/(<!-- sizes: .*? -->\n).*?(<!-- end -->)/$1$ENV{TABLE}\n$2/s or die "README.md has no marks for the table\n"' README.md
