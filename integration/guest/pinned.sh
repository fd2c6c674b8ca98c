#!/bin/bash
# Runs a command on one processor, the last of the allowed ones. The kernel of user-mode Linux and its processes take turns. If
# each turn wakes another processor, a guest takes four times as long.
# usage: integration/guest/pinned.sh COMMAND [ARGUMENT...]
cpus=$(sed -n 's/^Cpus_allowed_list:\s*//p' /proc/self/status)
exec taskset -c "${cpus##*[-,]}" "$@"
