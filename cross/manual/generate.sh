#!/bin/sh
# Writes the manual pages and the completions for bash, zsh and fish to DIR, from the table of the command line, which the parser reads
# too (src/cli/commands.txt). It needs awk only, so that it also runs where embrun is built for another machine.
# usage: cross/manual/generate.sh DIR
set -eu
here=$(cd "$(dirname "$0")" && pwd)
top=$here/../..
out=$1
version=$(awk -F '"' '/^version = / { print $2; exit }' "$top/Cargo.toml")
roles=$(cd "$top/seccomp-profiles" && echo *.config.json | sed 's/\.config\.json//g')
rm -rf "$out"
mkdir -p "$out"
made() { awk -v roles="$roles" -f "$here/table.awk" "$@" "$top/src/cli/commands.txt"; }
made -f "$here/man.awk" -v out="$out" -v version="$version" -v manual="$top/docs/embrun.8" -v descriptions="$top/docs/commands.roff"
rm "$out/commands" "$out/options"
made -f "$here/bash.awk" -v frame="$here/embrun.bash" > "$out/embrun.bash"
made -f "$here/zsh.awk" > "$out/_embrun"
made -f "$here/fish.awk" -v frame="$here/embrun.fish" > "$out/embrun.fish"
