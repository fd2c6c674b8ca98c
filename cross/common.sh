# shellcheck shell=bash disable=SC2034,SC2016
# Sourced by other scripts: the cache's folder, facts about targets, and apt states separate from the machine's own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/embrun
host=$(dpkg --print-architecture)
say() { printf '%s\n' "$*" >&2; }
die() {
	say "${0##*/}: $*"
	exit 1
}

targets="armv7-unknown-linux-musleabihf aarch64-unknown-linux-musl arm-unknown-linux-musleabi riscv64gc-unknown-linux-musl x86_64-unknown-linux-musl"

# target_facts TARGET: sets `arch`, Debian's architecture of the target, and `musl`, the folder of its musl-dev.
target_facts() {
	case $1 in
	x86_64-unknown-linux-musl) arch=amd64 musl=x86_64-linux-musl ;;
	aarch64-unknown-linux-musl) arch=arm64 musl=aarch64-linux-musl ;;
	armv7-unknown-linux-musleabihf) arch=armhf musl=arm-linux-musleabihf ;;
	arm-unknown-linux-musleabi) arch=armel musl=arm-linux-musleabi ;;
	riscv64gc-unknown-linux-musl) arch=riscv64 musl=riscv64-linux-musl ;;
	*) die "unknown target $1; known: $targets" ;;
	esac
}

# mirror_of debian|debian-security: the mirror that the machine's own apt uses, so that no script names a host.
mirror_of() {
	apt-get indextargets --format '$(REPO_URI)' | sed -n "s,/$1/\$,/$1,p" | head -n 1 | grep . ||
		die "this machine's apt configuration names no $1 mirror"
}

# apt_root SUITE ARCH: creates an apt state for one suite and one architecture, and sets APT_CONFIG. They are separate because one
# stale index on a mirror makes apt discard the whole update.
apt_root() {
	local root=$cache/apt/$1-$2 mirror security
	export APT_CONFIG=$root/apt.conf
	[ ! -e "$root/ready" ] || return 0
	mirror=$(APT_CONFIG='' mirror_of debian) security=$(APT_CONFIG='' mirror_of debian-security)
	mkdir -p "$root"/{lists/partial,archives/partial,empty} && : > "$root/status"
	echo "deb $mirror $1 main" > "$root/sources.list"
	# Only these two: we take musl and kernels from the other architectures, and the mirrors' security indexes for those are
	# often stale.
	case $1-$2 in
	sid-* | forky-*) ;;
	*-amd64 | *-arm64) echo "deb $security $1-security main" >> "$root/sources.list" ;;
	esac
	cat > "$APT_CONFIG" << A
APT::Architecture "$2"; APT::Architectures { "$2"; }; APT::Sandbox::User "root"; Acquire::Languages "none";
Dir::Etc::sourcelist "$root/sources.list"; Dir::Etc::sourceparts "$root/empty"; Dir::Etc::preferencesparts "$root/empty";
Dir::State::lists "$root/lists"; Dir::State::status "$root/status"; Dir::Cache "$root"; Debug::NoLocking "1";
A
	# Without --error-on=any, a missing index is only a warning, and the state would be marked ready without it.
	apt-get -qq update --error-on=any 2> "$root/update.log" || return 1
	: > "$root/ready"
}

# apt_sources SUITE: a private apt state that also has the sources. Sets APT_CONFIG.
apt_sources() {
	local root=$cache/apt/source-$1 mirror
	export APT_CONFIG=$root/apt.conf
	[ ! -e "$root/ready" ] || return 0
	mirror=$(APT_CONFIG='' mirror_of debian)
	mkdir -p "$root"/{lists/partial,archives/partial,empty} && : > "$root/status"
	printf 'deb %s %s main\ndeb-src %s %s main\n' "$mirror" "$1" "$mirror" "$1" > "$root/sources.list"
	cat > "$APT_CONFIG" << A
APT::Architecture "$host"; APT::Architectures { "$host"; }; APT::Sandbox::User "root"; Acquire::Languages "none";
Dir::Etc::sourcelist "$root/sources.list"; Dir::Etc::sourceparts "$root/empty"; Dir::Etc::preferencesparts "$root/empty";
Dir::State::lists "$root/lists"; Dir::State::status "$root/status"; Dir::Cache "$root"; Debug::NoLocking "1";
A
	apt-get -qq update && : > "$root/ready"
}

# apt_fetch ARCH "SUITE..." DIR PACKAGE...: downloads the packages into DIR from the first suite that has them. If a kept index
# names packages that the mirror has replaced, the index is fetched again.
apt_fetch() {
	local a=$1 suites=$2 dir=$3 s p ready
	shift 3
	mkdir -p "$dir"
	for s in $suites; do
		ready=$cache/apt/$s-$a/ready
		if [ -e "$ready" ]; then
			(
				apt_root "$s" "$a"
				cd "$dir" && apt-get -qq download "$@" 2> "${ready%ready}download.log"
			) && return 0
			rm -f "$ready"
			for p; do rm -f "$dir/$p"_*.deb; done
		fi
		(apt_root "$s" "$a" && cd "$dir" && apt-get -qq download "$@") && return 0
		say "cannot fetch from $s for $a$([ ! -s "$cache/apt/$s-$a/update.log" ] || sed -n '1s/^E: /: /p' "$cache/apt/$s-$a/update.log")"
	done
	die "cannot fetch $* for $a from any of: $suites"
}
