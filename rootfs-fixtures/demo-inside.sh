#!/bin/sh
# The program of the demo's container: prints what the container sees.
echo "host name   $(hostname)"
echo "user        $(id -un), capabilities $(awk '/CapEff/ { print $2 }' /proc/self/status)"
echo "network     $(awk -F: 'NR > 2 { print $1 }' /proc/net/dev | xargs)"
echo "processes"
ps -o pid,args | sed 's/^/            /'
echo "mounts"
awk '{ printf "            %-22s %-8s %s\n", $2, $3, $4 }' /proc/mounts
echo "limits"
echo "            open files $(ulimit -n)"
for file in pids.max memory.max pids/pids.max memory/memory.limit_in_bytes; do
	[ ! -f "/sys/fs/cgroup/$file" ] || echo "            $file $(cat "/sys/fs/cgroup/$file")"
done
