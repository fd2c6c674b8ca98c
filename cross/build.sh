#!/bin/bash
# Builds a small static embrun for TARGET. target/dist/TARGET gets `embrun`, its link map and its SHA-256.
# usage: cross/build.sh TARGET
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
target=${1:-}
target_facts "$target"
out=target/dist/$target
# Each option turns off an optimisation that costs bytes (docs/size.md gives the KB): equal sequences become functions, loads are
# not moved out of loops, switches do not become tables.
llvm=(enable-machine-outliner=always disable-machine-licm switch-to-lookup=false) model=()
case $target in
# Short strings are placed beside the code, not behind a pointer.
armv7-*) llvm+=(arm-promote-constant) ;;
# Functions share the code that saves and restores registers (23), the outliner runs three times (1), loop counters are not
# rewritten (1), copies are calls (1). All code lies within 1 MB, so that an address takes one instruction (11).
aarch64-*) llvm+=(homogeneous-prolog-epilog machine-outliner-reruns=2 disable-lsr max-store-memcpy=2) model=(-Ccode-model=tiny) ;;
# A jump table takes 8 bytes for each entry, so small ones do not pay (0.9). A call takes more bytes than LLVM assumes (0.8),
# values are not computed early to save a computation on some paths (0.9) and not kept to be used again (1.4), blocks are not
# moved (0.5). Ends of two equal instructions are shared (0.7), values are spilled where that is short (0.4), and cleared memory is
# a call (0.2).
x86_64-*)
	llvm+=(disable-lsr max-store-memcpy=1 min-jump-table-entries=12 inline-call-penalty=30)
	llvm+=(enable-pre=false disable-machine-cse disable-block-placement)
	llvm+=(tail-merge-size=1 split-spill-mode=size max-store-memset=1)
	;;
esac
# Nothing unwinds, so nothing reads the index for it. RELRO (0.2) protects nothing here: musl would have to ask the kernel for it, and
# does so only in its dynamic linker. With -O2 the linker shares the ends of texts (0.2).
lean=(-Clink-arg=--no-eh-frame-hdr -Crelro-level=off -Clink-arg=-O2 "-Clink-arg=-T$here/discard.ld")
cd "$top"
mkdir -p "$out"
"$here/cargo.sh" "$target" rustc --quiet --release --bin embrun -- -Clink-arg=-Map="$out/embrun.map" \
	"-Clink-arg=-T$here/order.ld" "${lean[@]}" "${model[@]}" "${llvm[@]/#/-Cllvm-args=-}"
cp "target/cross/$target/release/embrun" "$out/embrun"
(cd "$out" && sha256sum embrun > embrun.sha256)
