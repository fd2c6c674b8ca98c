#!/bin/bash
# Proves that FILE is fit for a release: it is static and stripped, its stack is not executable, it contains no path of this machine
# and, for ARM, it can be loaded with pages of 64 KiB. It reports each fault and exits with 1 if there is one.
# usage: cross/proof.sh FILE
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
f=${1:?usage: cross/proof.sh FILE} bad=0
not() {
	say "$f $*"
	bad=1
}
# Read it once at the start: if readelf fails, nothing is proven.
elf=$(readelf -hlSdW "$f") && [[ $elf = *LOAD* && $elf = *.text* ]] || die "readelf cannot read $f"
[[ $elf != *INTERP* ]] || not "needs an interpreter"
[[ $elf != *NEEDED* ]] || not "needs a shared library"
[[ $elf != *.symtab* && $elf != *.debug* ]] || not "is not stripped"
# ARM kernels have pages of 4, 16 or 64 KiB. A segment aligned to less is mapped over its neighbour, or not at all.
case $elf in
*Machine:*AArch64* | *Machine:*ARM*)
	while read -r align; do
		((align % 65536 == 0)) || not "has a segment aligned to $((align)) bytes, not to 65536: it crashes on kernels with larger pages"
	done < <(awk '$1 == "LOAD" { print $NF }' <<< "$elf")
	;;
esac
stack=$(grep GNU_STACK <<< "$elf") || not "has no GNU_STACK header"
[[ $stack != *E* ]] || not "has an executable stack"
names=$(grep -aoF -e "$top/" -e "$HOME/" "$f") || [ $? = 1 ] || die "grep cannot read $f"
[ -z "$names" ] || not "contains a path of this machine: ${names%%$'\n'*}"
exit $bad
