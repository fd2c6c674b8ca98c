#!/bin/bash
# Measures what a container costs with embrun, Debian's runc and crun, and the floor (the kernel's share, see floor.c). The
# commands are interleaved on the same bundle; the medians are printed as a table in Markdown.
# usage: integration/bench/run.sh [--smoke] EMBRUN      env: ROUNDS=40
#   --smoke runs three rounds, only to see that everything works
# It runs under tini in its own mount and pid namespaces. On a hybrid host the v2 hierarchy is unmounted there, because crun
# refuses such a host.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
rounds=${ROUNDS:-40}
if [ "${1:-}" = --smoke ]; then
	rounds=3
	shift
fi
embrun=$(realpath "$1")

if [ "${BENCH_INSIDE:-}" != yes ]; then
	rootfs=$("$here/../../rootfs-fixtures/build.sh" --bare)
	tools=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/bench
	mkdir -p "$tools"
	for tool in floor interleave; do
		[ "$tools/$tool" -nt "$here/$tool.c" ] || gcc -O2 -static -Wall -o "$tools/$tool" "$here/$tool.c"
	done
	export BENCH_INSIDE=yes BENCH_ROOTFS=$rootfs BENCH_TOOLS=$tools ROUNDS=$rounds
	exec unshare --fork --pid --mount --mount-proc --kill-child=KILL -- tini -s -- "$0" "$embrun"
fi

mount -t tmpfs run /run
if grep -q ' - cgroup cgroup' /proc/self/mountinfo; then
	layout=v1
	awk '/ - cgroup2 / { print $5 }' /proc/self/mountinfo | while read -r tree; do umount "$tree"; done
else
	layout=v2
fi
cd /run
mkdir bundle sleeper
ln -s "$BENCH_ROOTFS" bundle/rootfs
ln -s "$BENCH_ROOTFS" sleeper/rootfs
runc spec --bundle bundle
sed -i -e 's/"terminal": true/"terminal": false/' bundle/config.json
jq --arg rootfs "$BENCH_ROOTFS" '.root.path = $rootfs | .process.args = ["/bin/true"] | del(.process.capabilities.ambient)' bundle/config.json > c && mv c bundle/config.json
jq '.process.args = ["/bin/sleep", "1000"]' bundle/config.json > sleeper/config.json

# interleave replaces `@` by the number of the round, so each container has a new id and a new cgroup.
cases() {
	local name rt
	for name in embrun crun runc; do
		case $name in
		embrun) rt="$embrun --root /run/s-embrun" ;;
		*) rt="$(command -v "$name" || echo "/usr/sbin/$name") --root /run/s-$name" ;;
		esac
		local id="b$name-@" stopped
		stopped="until $rt state $id | grep -q stopped; do sleep 0.002; done"
		local quiet='< /dev/null > /dev/null 2>&1'
		printf '%s\t%s\t%s\t%s\n' \
			"run $name" "" "$rt run --bundle /run/bundle $id" "" \
			"create $name" "" "$rt create --bundle /run/bundle $id" "$rt delete --force $id" \
			"start $name" "$rt create --bundle /run/bundle $id $quiet" "$rt start $id" "$stopped; $rt delete $id" \
			"delete $name" "$rt create --bundle /run/bundle $id $quiet; $rt start $id; $stopped" "$rt delete $id" "" \
			"exec $name" "" "$rt exec sleeper-$name /bin/true" "" \
			"state $name" "" "$rt state sleeper-$name" ""
		$rt create --bundle /run/sleeper "sleeper-$name" < /dev/null > /dev/null
		$rt start "sleeper-$name"
	done
	printf 'run floor\t\t%s %s bfloor-@\t\n' "$BENCH_TOOLS/floor" "$BENCH_ROOTFS"
}
cases > cases
timeout $((120 + ROUNDS * 20)) "$BENCH_TOOLS/interleave" "$ROUNDS" 2 < cases > results
embrun_root="$embrun --root /run/s-embrun"
$embrun_root delete --force sleeper-embrun
crun --root /run/s-crun delete --force sleeper-crun
/usr/sbin/runc --root /run/s-runc delete --force sleeper-runc
if awk -F'\t' '$5 != 0 { print; bad = 1 } END { exit !bad }' results; then
	echo "bench: the commands above failed (label, wall, CPU, KiB, status)" >&2
	exit 1
fi

echo "Kernel $(uname -r), $(nproc) processors, cgroup $layout, load $(cut -d' ' -f1 /proc/loadavg) at the end, $ROUNDS rounds;"
echo "$(runc --version | head -n 1), $(crun --version | head -n 1), $("$embrun" --version | head -n 1) of $(stat -c %s "$embrun") bytes."
echo
echo "| /bin/true | wall ms | of crun's | CPU ms | of crun's | peak RSS KiB |"
echo "|---|---|---|---|---|---|"
median() { awk -F'\t' -v l="$1" -v f="$2" '$1 == l { print $f }' results | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
for act in run create start delete exec state; do
	for name in floor embrun crun runc; do
		wall=$(median "$act $name" 2)
		[ -n "$wall" ] || continue
		awk -v label="$act, $name" -v w="$wall" -v cw="$(median "$act crun" 2)" -v c="$(median "$act $name" 3)" \
			-v cc="$(median "$act crun" 3)" -v rss="$(median "$act $name" 4)" 'BEGIN {
			printf "| %s | %.2f | %.2f | %.2f | %.2f | %d |\n", label, w / 1000, w / cw, c / 1000, c / cc, rss }'
	done
done
