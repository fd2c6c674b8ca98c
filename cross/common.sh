# shellcheck shell=bash disable=SC2034,SC2016
# Sourced by the scripts here: where things are cached, and apt roots that leave the machine's own apt alone.
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

# A target of `make release` in Debian's words: `arch`, the package architecture, and `musl`, the folder of musl-dev.
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

# The mirrors are those of the machine's own apt, so that no script names a host.
mirror_of() {
	apt-get indextargets --format '$(REPO_URI)' | sed -n "s,/$1/\$,/$1,p" | head -n 1 | grep . ||
		die "this machine's apt configuration names no $1 mirror"
}

# apt_root SUITE ARCH: a private apt state for one suite and one architecture. Each has its own, because a single index
# that a mirror serves stale makes apt throw away the whole update. Sets APT_CONFIG.
apt_root() {
	local root=$cache/apt/$1-$2 mirror security
	export APT_CONFIG=$root/apt.conf
	[ ! -e "$root/ready" ] || return 0
	mirror=$(APT_CONFIG='' mirror_of debian) security=$(APT_CONFIG='' mirror_of debian-security)
	mkdir -p "$root"/{lists/partial,archives/partial,empty} && : > "$root/status"
	echo "deb $mirror $1 main" > "$root/sources.list"
	# Only these two: the other architectures give us musl and kernels, and the mirrors' security indexes for them are
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
	# Without the option an index that could not be fetched is a warning, and the root would be ready without it.
	apt-get -qq update --error-on=any 2> "$root/update.log" || return 1
	: > "$root/ready"
}

# apt_fetch ARCH "SUITE..." DIR PACKAGE...: download into DIR from the first suite whose index can be had. An index is kept, and
# names packages that the mirror has replaced since: then it is fetched again.
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
		say "$s for $a cannot be had$([ ! -s "$cache/apt/$s-$a/update.log" ] || sed -n '1s/^E: /: /p' "$cache/apt/$s-$a/update.log")"
	done
	die "$* for $a: in no suite of: $suites"
}
