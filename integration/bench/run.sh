#!/bin/bash
# Measures the release binary beside crun (static, and Debian's), Debian's runc and the floor (floor.c), with cgroup v1, v2 and hybrid
# as far as this host has them. Writes docs/performance.md and its plots.
# usage: integration/bench/run.sh [--smoke] [--arm]      env: ROUNDS=60, COUNTS="1 10 100 500",
#   EMBRUN: another binary than the release build
#   --smoke  three rounds and few containers, only to see that everything works; writes to target/bench
#   --arm    also measures in emulated aarch64 and armv7 guests, which takes some minutes
. "$(dirname "${BASH_SOURCE[0]}")/../../cross/common.sh"
bench=$top/integration/bench
cd "$top" || exit
rounds=${ROUNDS:-60} docs=$top/docs arm=no
export COUNTS=${COUNTS:-1 10 100 500} WEIGH_ROUNDS=${WEIGH_ROUNDS:-10}
while [ $# -gt 0 ]; do
	case $1 in
	--smoke) rounds=3 COUNTS="1 10" docs=$top/target/bench/docs WEIGH_ROUNDS=1 ;;
	--arm) arm=yes ;;
	*) die "unknown option $1" ;;
	esac
	shift
done
for target in $targets; do
	target_facts "$target"
	[ "$arch" != "$host" ] || break
done
if [ -z "${EMBRUN:-}" ]; then
	say "building"
	cross/build.sh "$target" >&2
	EMBRUN=$top/target/dist/$target/embrun
fi
CRUN=$("$bench/crun.sh")
DEBIAN_CRUN=$(PATH=$PATH:/usr/sbin command -v crun)
RUNC=$(PATH=$PATH:/usr/sbin command -v runc)
BENCH_ROOTFS=$(rootfs-fixtures/build.sh --bare)
PROFILE=$top/seccomp-profiles/default.json
tools=$cache/bench
mkdir -p "$tools" "$docs"
for tool in floor interleave; do
	[ "$tools/$tool" -nt "$bench/$tool.c" ] || gcc -O2 -static -Wall -o "$tools/$tool" "$bench/$tool.c"
done
FLOOR=$tools/floor INTERLEAVE=$tools/interleave
results=$top/target/bench
rm -f "$results"/{times,sizes,facts,arm}
mkdir -p "$results"
DISK=$(mktemp -d "$results/disk.XXXXXX")
unified=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
own=$unified/embrun-bench-$$
clean_up() {
	rm -rf "$DISK"
	[ ! -d "$own" ] || rmdir "$own/root/self" "$own/root" "$own" 2> /dev/null || true
}
trap clean_up EXIT
export EMBRUN CRUN DEBIAN_CRUN RUNC BENCH_ROOTFS PROFILE FLOOR INTERLEAVE DISK

# measured LAYOUT: measures in namespaces of its own.
cage=(unshare --fork --pid --mount --mount-proc --kill-child=KILL)
measured() {
	say "measuring: $1"
	if [ "$1" != v2 ]; then
		"${cage[@]}" -- tini -s -- "$bench/measure.sh" "$1" "$rounds" "$results"
		return
	fi
	# The root of the namespace offers no controllers: crun would enable them, and retry for seconds to remove its cgroups.
	mkdir -p "$own/root/self"
	# shellcheck disable=SC2016  # the shell inside expands them
	sh -c 'echo 0 > "$0/root/cgroup.procs" && exec "$@"' "$own" "${cage[@]}" --cgroup -- sh -c 'echo 0 > "$0/root/self/cgroup.procs" && exec "$@"' \
		"$own" tini -s -- "$bench/measure.sh" "$1" "$rounds" "$results"
}
fact() { printf '%s\t%s\n' "$1" "$2" >> "$results/facts"; }
version() { "$1" --version | sed -n '1s/.*version //p'; }
fact load-before "$(cut -d' ' -f1-3 /proc/loadavg)"
old=no
grep -q ' - cgroup cgroup' /proc/self/mountinfo && old=yes
[ -z "$unified" ] || measured v2
[ "$old" = no ] || measured v1
[ "$old" = no ] || [ -z "$unified" ] || measured hybrid
fact load "$(cut -d' ' -f1-3 /proc/loadavg)"
fact date "$(date -u '+%Y-%m-%d %H:%M') UTC"
fact processors "$(nproc)"
fact cpu "$(sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo)"
fact kernel "$(uname -r) $(uname -m)"
fact rounds "$rounds"
fact embrun "$(version "$EMBRUN") (commit $("$EMBRUN" --version | sed -n 's/^commit: \(.\{7\}\).*/\1/p'), $(stat -c %s "$EMBRUN") bytes)"
fact crun "$(version "$CRUN")"
fact debian-crun "$(version "$DEBIAN_CRUN")"
fact runc "$(version "$RUNC")"
if [ $arm = yes ]; then
	say "measuring: emulated ARM"
	"$top/integration/guest/arm.sh" weigh-only | tee "$results/arm.log"
	awk -f "$bench/arm.awk" "$results/arm.log" > "$results/arm"
fi
python3 -B "$bench/report.py" "$results" "$docs"
say "written: $docs/performance.md"
