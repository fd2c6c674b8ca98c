#!/bin/bash
# Checks formatting, the lints of rustc, clippy and shellcheck as errors, and the project's own rules that they do not know.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0
fault() {
	echo "lint: $1" >&2
	[ -z "${2:-}" ] || echo "$2" | head -n 20 >&2
	bad=1
}
none() { # MESSAGE FOUND
	[ -z "$2" ] || fault "$1" "$2"
}

services=rootfs-fixtures/gateway/services/Cargo.toml sensor=integration/gateway/sensor/Cargo.toml
fuzz=integration/fuzz/Cargo.toml
for manifest in Cargo.toml integration/probe/Cargo.toml integration/cri/Cargo.toml $services $sensor $fuzz; do
	cargo fmt --all --check --manifest-path $manifest > /dev/null || fault "cargo fmt: $manifest is not formatted"
done
cargo clippy -q --locked --all-targets -- -D warnings || fault "clippy"
cargo clippy -q --locked --lib --bin embrun -- -D clippy::disallowed-methods || fault "clippy: methods that the program must not call"
CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/probe cargo clippy -q --locked \
	--manifest-path integration/probe/Cargo.toml -- -D warnings || fault "clippy: the probe"
CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/cri cargo clippy -q --locked \
	--manifest-path integration/cri/Cargo.toml -- -D warnings || fault "clippy: the client of the CRI"
CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/gateway cargo clippy -q --locked --all-targets \
	--manifest-path $services -- -D warnings || fault "clippy: the services of the gateway"
CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/sensor cargo clippy -q --locked \
	--manifest-path $sensor -- -D warnings || fault "clippy: the sensor of the gateway's guests"
CARGO_TARGET_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/fuzz/lint CLIPPY_CONF_DIR=$PWD/integration/fuzz cargo clippy -q --locked \
	--manifest-path $fuzz -- -D warnings || fault "clippy: the fuzz targets"
RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc -q --locked --no-deps --lib || fault "rustdoc"
if deny=$(integration/deny.sh 2>&1); then
	[ -z "$deny" ] || echo "lint: $deny" >&2
else
	fault "the crates: licences, sources, versions (deny.toml)" "$deny"
fi
# .ci/run is the only script without an extension: the CI calls it by that name.
mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
# SC2154 and others: shellcheck does not see which variables a sourced file sets.
shellcheck -S warning -e SC2154,SC2164,SC2046,SC2191,SC3045,SC2054 "${scripts[@]}" || fault "shellcheck"
none "shell scripts that shfmt -sr -w would change (tabs)" "$(shfmt -sr -l "${scripts[@]}" 2>&1)"
none "scripts without .sh or .py" "$(git ls-files | grep -vE '\.(sh|py)$|^\.ci/run$' | while read -r f; do
	head -c 3 "$f" | grep -q '^#!/' && echo "$f"
done)"

sources=$(git ls-files 'src/*.rs')
none "unsafe outside src/sys" "$(grep -nE '\bunsafe (\{|fn|impl|extern)' $(grep -v '^src/sys/' <<< "$sources"))"
none "RawFd outside src/sys: descriptors have owners" "$(grep -nw RawFd $(grep -v '^src/sys/' <<< "$sources") | grep -v cmsg_space)"
none "plan must not import run or sys" "$(grep -nE '^[^/]*crate::(run|sys)\b' $(grep '^src/plan/' <<< "$sources"))"
none "unfinished code" "$(grep -nE 'todo!|unimplemented!|\b(TODO|FIXME|XXX)\b' $sources)"
none "binaries in the tree" "$(git ls-files -z | xargs -0 -r grep -lP '\x00' -- 2> /dev/null)"
for row in $(grep -oE '\]\((docs|integration|cross|src|rootfs-fixtures)/[^)#]*\)' ./*.md | sed 's/.*](\(.*\))/\1/'); do
	[ -e "$row" ] || fault "a link in the documentation leads nowhere: $row"
done
exit $bad
