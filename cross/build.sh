#!/bin/bash
# Builds embrun for TARGET, small and static.
# usage: cross/build.sh TARGET      target/dist/TARGET gets `embrun`, its link map and its SHA-256.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=${1:-}
target_facts "$target"
out=target/dist/$target
# Each option stops LLVM from buying speed with bytes (docs/size.md gives the KB): equal sequences become functions, loads are not
# moved out of loops, switches do not become tables.
llvm=(enable-machine-outliner=always disable-machine-licm switch-to-lookup=false) model=()
case $target in
# Short strings lie beside the code instead of behind a pointer.
armv7-*) llvm+=(arm-promote-constant) ;;
# Functions share the code that saves and restores registers (23), what was shared once is shared again (1), loop counters
# stay as they are written (1), copies are calls (1). All lies within 1 MB, so an address is one instruction (11).
aarch64-*) llvm+=(homogeneous-prolog-epilog machine-outliner-reruns=2 disable-lsr max-store-memcpy=2) model=(-Ccode-model=tiny) ;;
# A table of jumps has 8 bytes for each (0.9).
x86_64-*) llvm+=(disable-lsr max-store-memcpy=1 min-jump-table-entries=12) ;;
esac
cd "$top"
mkdir -p "$out"
"$here/cargo.sh" "$target" rustc --quiet --release --bin embrun -- -Clink-arg=-Map="$out/embrun.map" \
	"${model[@]}" "${llvm[@]/#/-Cllvm-args=-}"
cp "target/cross/$target/release/embrun" "$out/embrun"
(cd "$out" && sha256sum embrun > embrun.sha256)
