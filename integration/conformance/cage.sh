#!/bin/bash
# Runs a command where it cannot harm the machine: in a new cgroup of each hierarchy, which it sees as the root; in new pid
# (under tini), mount, cgroup, network, ipc and uts namespaces; with an empty /run and /tmp, and a /dev of its own, whose nodes
# tests may give away. Processes that stay in its cgroups are killed. The cgroup gets a share of the real-time budget.
# HIDE_UNIFIED=1 leaves out a v2 tree beside v1, which crun refuses. WHOLE_CGROUP=1 stays in the root cgroup, for a guest with
# cgroup v2: below a cgroup that has processes, no container gets memory or I/O limits. There it makes an empty cgroup, since the
# tests look for files that the root cgroup lacks.
# usage: integration/conformance/cage.sh COMMAND...
set -euo pipefail
name=conformance-$$
export MOUNTS
MOUNTS=$(awk '$3 ~ /^cgroup2?$/ { print $2, $3, $4 }' /proc/mounts)
sweep() {
	while read -r at _; do
		for _ in $(seq 30); do
			[ -d "$at/$name" ] || break
			find "$at/$name" -name cgroup.procs -exec cat {} + 2> /dev/null | while read -r pid; do kill -9 "$pid" 2> /dev/null || :; done
			find "$at/$name" -name freezer.state -exec sh -c 'echo THAWED > "$1"' sh {} \; 2> /dev/null || :
			find "$at/$name" -depth -type d -exec rmdir {} \; 2> /dev/null || :
			sleep 0.2
		done
		[ ! -d "$at/$name" ] || echo "cage: cannot remove $at/$name" >&2
	done <<< "$MOUNTS"
}
[ -n "${WHOLE_CGROUP-}" ] && mkdir -p /sys/fs/cgroup/empty || trap sweep EXIT
[ -n "${WHOLE_CGROUP-}" ] || while read -r at _; do
	mkdir "$at/$name"
	if [ -e "$at/cpuset.mems" ]; then
		cat "$at/cpuset.cpus" > "$at/$name/cpuset.cpus"
		cat "$at/cpuset.mems" > "$at/$name/cpuset.mems"
		echo 1 > "$at/$name/cgroup.clone_children"
	fi
	[ ! -e "$at/cpu.rt_runtime_us" ] || echo 700000 > "$at/$name/cpu.rt_runtime_us" || :
done <<< "$MOUNTS"
(
	[ -n "${WHOLE_CGROUP-}" ] || while read -r at _; do echo "$BASHPID" > "$at/$name/cgroup.procs"; done <<< "$MOUNTS"
	exec unshare --mount --pid --fork --kill-child --cgroup --net --ipc --uts --mount-proc sh -c '
		mount --make-rprivate /
		umount -R /sys/fs/cgroup
		case $MOUNTS in
		"/sys/fs/cgroup cgroup2 "*) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
		*)	mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
			echo "$MOUNTS" | while read -r at type options; do
				[ "$type${HIDE_UNIFIED-}" != cgroup21 ] || continue
				mkdir -p "$at"
				names=$(echo "$options" | tr , "\n" | grep -vE "^(rw|relatime|nosuid|nodev|noexec|xattr|clone_children)$" | paste -sd, )
				if [ "$type" = cgroup2 ]; then mount -t cgroup2 cgroup2 "$at"; else mount -t cgroup -o "$names" cgroup "$at"; fi
			done ;;
		esac
		ip link set lo up
		mount -t tmpfs -o mode=755 dev /mnt
		find /dev -xdev -mindepth 1 -maxdepth 1 ! -name pts ! -name shm ! -name mqueue -exec cp -a {} /mnt/ \;
		chown 0:0 /mnt/null; chmod 666 /mnt/null
		mkdir -p /mnt/pts /mnt/shm /mnt/mqueue
		mount --move /mnt /dev
		mount -t devpts -o newinstance,mode=620,ptmxmode=666 devpts /dev/pts; ln -sf pts/ptmx /dev/ptmx
		mount -t tmpfs -o mode=1777 shm /dev/shm; mount -t mqueue mqueue /dev/mqueue
		mount -t tmpfs run /run; mkdir -p /run/lock; mount -t tmpfs -o mode=1777 tmp /tmp
		exec tini -s -- "$@"' sh "$@"
)
