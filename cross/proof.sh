#!/bin/bash
# Proves that FILE is what a release is: it starts on a root file system that holds nothing else and, for ARM, with pages of 64 KiB; its
# stack is not executable, and it names no folder of this machine. usage: cross/proof.sh FILE      says each thing that is not so, and ends with 1
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
f=${1:?usage: cross/proof.sh FILE} bad=0
not() {
	say "$f $*"
	bad=1
}
# Read once, first: a readelf that cannot is no proof.
elf=$(readelf -hlSdW "$f") && [[ $elf = *LOAD* && $elf = *.text* ]] || die "readelf cannot read $f"
[[ $elf != *INTERP* ]] || not "asks for an interpreter"
[[ $elf != *NEEDED* ]] || not "needs a shared library"
[[ $elf != *.symtab* && $elf != *.debug* ]] || not "is not stripped"
# Kernels for ARM have pages of 4, 16 or 64 KiB. They map a segment that is aligned to less over its neighbour, or not at all.
case $elf in
*Machine:*AArch64* | *Machine:*ARM*)
	while read -r align; do
		((align % 65536 == 0)) || not "has a segment aligned to $((align)) bytes, not to 65536: it crashes on kernels with larger pages"
	done < <(awk '$1 == "LOAD" { print $NF }' <<< "$elf")
	;;
esac
stack=$(grep GNU_STACK <<< "$elf") || not "does not say what its stack is"
[[ $stack != *E* ]] || not "has an executable stack"
names=$(grep -aoF -e "$top/" -e "$HOME/" "$f") || [ $? = 1 ] || die "grep cannot read $f"
[ -z "$names" ] || not "names a folder of this machine: ${names%%$'\n'*}"
exit $bad
