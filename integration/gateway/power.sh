#!/bin/bash
# Cuts the power of a gateway, a guest of user-mode Linux with a disk, while all five services run; power.py says what is checked.
# With `netem` the guest's link delays, loses and reorders packets instead.
# usage: integration/gateway/power.sh [CUTS|netem [SEED]]      default: one cut, a random seed; env: see guest-parts.sh
set -euo pipefail
own=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$own/../.." && pwd)
cuts=${1:-1} seed=${2:-$RANDOM}
"$top/integration/needs.sh" build gateway
box=$(mktemp -d "${TMPDIR:-/var/tmp}/gateway-power.XXXXXX")
running=''
# shellcheck disable=SC2086  # no word if nothing runs
trap 'kill -KILL $running 2> /dev/null || true; rm -rf "$box"' EXIT
trap 'exit 143' TERM INT
embrun=$("$top/integration/static.sh")
"$own/guest-parts.sh" host "$box" 10.60.0.1
kernel=$("$top/integration/guest/uml-kernel.sh")
"$own/guest-root.sh" amd64 "$embrun" "$box/images" "$box" "$box/root" a 10.60.0.1:8883
gcc -O2 -Wall -Werror -static -o "$box/root/usr/bin/attach" "$own/attach.c"
cp "$box/sensor" "$box/root/usr/bin/"
"$own/guest-modules.sh" "$kernel" "$box/root/mods"
# busybox's tc has no netem, so the guest has the host's, with its own loader and libraries.
mkdir "$box/root/usr/tc"
tc=$(PATH=$PATH:/usr/sbin:/sbin command -v tc)
ldd "$tc" | grep -o '/[^ ]*' | xargs cp -Lt "$box/root/usr/tc" "$tc"
PATH=$PATH:/usr/sbin:/sbin
truncate -s 96M "$box/root.img"
mke2fs -q -F -t ext4 -O ^has_journal -d "$box/root" "$box/root.img"
truncate -s 64M "$box/disk.img"
mke2fs -q -F -t ext4 "$box/disk.img"
rm -rf "$box/root"
echo "power: cuts: $cuts, seed $seed" >&2
# All that it starts ends with its pid namespace, and the network with its own.
unshare --net --pid --fork --kill-child --mount-proc sh -c '
	ip link set lo up && ip addr add 10.60.0.1/32 dev lo && exec "$@"' sh \
	"$own/power.py" "$box" "$kernel" "$cuts" "$seed" "$box/images" &
running=$!
wait $running
