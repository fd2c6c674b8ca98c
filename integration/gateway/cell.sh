#!/bin/bash
# Runs a program that may start daemons, networks and containers, and removes everything afterwards, also if it is interrupted.
# The program is in new pid, mount, network, uts and cgroup namespaces, with a /run of its own. All processes that it starts die
# with it. It cannot reach the machine's own network and cgroups.
# usage: integration/gateway/cell.sh PROGRAM [ARGUMENT...]      the program finds an empty directory in W
set -euo pipefail

hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2, $3, $4 }' /proc/mounts; }

# The cgroup of the cell becomes the root of a cgroup namespace.
enter() {
	local at key
	while read -r at _; do
		mkdir "$at/$CELL"
		for key in cpuset.cpus cpuset.mems; do
			# A new cgroup of cpuset v1 takes no process before it has both.
			[ ! -e "$at/cpuset.effective_cpus" ] || cat "$at/$key" > "$at/$CELL/$key"
		done
		echo $$ > "$at/$CELL/cgroup.procs"
	done < <(hierarchies)
	exec unshare --cgroup -- "$self" --split "$@"
}

# A v2 cgroup with processes cannot give controllers to the cgroups below it, so the processes go one level down.
split() {
	local at type
	while read -r at type _; do
		[ "$type" != cgroup2 ] || {
			mkdir "$at/$CELL/cell"
			echo $$ > "$at/$CELL/cell/cgroup.procs"
		}
	done < <(hierarchies)
	exec unshare --fork --pid --mount --net --uts --kill-child=KILL -- tini -s -- "$self" --inside "$@"
}

inside() {
	local at type options
	mount --make-rprivate /
	mount -t proc proc /proc
	mount -t tmpfs -o mode=755 tmpfs /run
	while read -r at type options; do
		# The names of the controllers; the rest are flags of this mount.
		case $at in
		*/systemd) options=none,name=systemd ;;
		*) options=$(tr , '\n' <<< "$options" | grep -xFf <(cut -f1 /proc/cgroups) | paste -sd,) || true ;;
		esac
		umount "$at"
		mount -t "$type" ${options:+-o "$options"} "$type" "$at"
	done < <(hierarchies)
	ip link set lo up
	exec "$@"
}

remove() {
	local at
	trap - EXIT
	[ -z "$child" ] || kill -KILL "$child" 2> /dev/null || true
	while read -r at _; do
		for _ in $(seq 100); do
			[ -d "$at/$CELL" ] || break
			find "$at/$CELL" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.1
		done
	done < <(hierarchies)
	rm -rf "$W"
}

self=$(realpath "$0")
case ${1:-} in
--enter | --split | --inside)
	"${1#--}" "${@:2}"
	;;
*)
	W=$(mktemp -d "${TMPDIR:-/tmp}/embrun-gateway.XXXXXX")
	export W CELL=embrun-gateway-$$
	chmod 755 "$W"
	child=
	trap remove EXIT
	trap 'exit 130' INT TERM HUP
	"$self" --enter "$@" < /dev/null &
	child=$!
	status=0
	wait "$child" || status=$?
	exit "$status"
	;;
esac
