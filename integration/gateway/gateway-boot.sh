#!/bin/sh
# shellcheck shell=dash disable=SC2013
# The start of a gateway in a guest, run by busybox's init before the services: modules, network, disk, slots and sensors.
# It needs busybox and the files of guest-root.sh. The kernel's command line may set disk=ADDRESS:PORT:MEGABYTES for attach.c;
# without it, everything is in memory. netem=WORD,WORD... makes the link a bad one, and its counters go to the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
set -u
arg() { for w in $(cat /proc/cmdline); do case $w in "$1="*) echo "${w#*=}" ;; esac done }
mounted() { grep -q " $1 " /proc/mounts; }
[ -e /proc/mounts ] || mount -t proc proc /proc
mounted /sys || mount -t sysfs sys /sys
mounted /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mounted /dev/pts || mount -t devpts -o ptmxmode=666 pts /dev/pts
mounted /dev/shm || mount -t tmpfs shm /dev/shm
mounted /run || mount -t tmpfs -o mode=755 run /run
mounted /tmp || mount -t tmpfs tmp /tmp
if ! mounted /sys/fs/cgroup; then
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" > /sys/fs/cgroup/cgroup.subtree_control; done
fi
for module in /mods/*.ko; do
	case $module in
	*i2c-stub*) insmod "$module" chip_addr=0x48 ;;
	*) insmod "$module" ;;
	esac 2> /dev/null
done
syslogd -O /dev/console
ip link set lo up
if ip link set vec0 up 2> /dev/null; then ip addr add 10.60.0.2/24 dev vec0; fi
netem=$(arg netem | tr , ' ')
if [ -n "$netem" ]; then
	tc() { /usr/tc/ld-linux-x86-64.so.2 --library-path /usr/tc /usr/tc/tc "$@"; }
	# shellcheck disable=SC2086  # words on purpose
	tc qdisc add dev vec0 root netem $netem || exit 1
	while sleep 2; do echo "netem $(tc -s qdisc show dev vec0 | tr '\n' ' ')"; done &
fi

# The state that must survive a power cut.
disk=$(arg disk)
if [ -n "$disk" ]; then
	# shellcheck disable=SC2046  # words on purpose
	if ! attach $(echo "$disk" | tr : ' ') || ! mount -t ext4 /dev/nbd0 /var/lib/gateway; then
		echo "gateway: no disk"
		exit 1
	fi
else
	mount -t tmpfs data /var/lib/gateway
fi
mkdir -p /run/gateway
for name in data-processor uplink firmware-updater; do mkdir -p "/var/lib/gateway/$name"; done
for slot in a b; do
	file=/var/lib/gateway/slot-$slot
	[ -e "$file" ] || dd if=/dev/zero of="$file" bs=1M count=3 conv=fsync 2> /dev/null
done
chown 1000:1000 /run/gateway /var/lib/gateway/data-processor /var/lib/gateway/uplink /var/lib/gateway/firmware-updater
losetup /dev/loop0 /var/lib/gateway/slot-a
losetup /dev/loop1 /var/lib/gateway/slot-b
echo "slots $(gateway-tool slots /dev/loop0 /dev/loop1 | tr '\n' ' ')"
echo "left $(embrun list -q | wc -l) containers, $(find /sys/fs/cgroup -type d -path '*gateway*' | wc -l) cgroups"

sensor sensor0 > /dev/null 2>&1 < /dev/null &
n=0
until [ -e /dev/sensor0 ] || [ $n = 50 ]; do
	n=$((n + 1))
	usleep 100000
done
major=$(printf %d "0x$(stat -c %t /dev/sensor0)")
for name in /srv/*; do
	name=${name##*/}
	mkdir -p "/run/srv/$name"
	cp "/srv/$name/service" "/run/srv/$name/"
	sed "s/4242/$major/" "/srv/$name/config.json" > "/run/srv/$name/config.json"
done
for line in /dev/ttyS1 /dev/ttyS2; do [ ! -e $line ] || stty -F $line raw -echo; done
if [ -e /dev/i2c-0 ]; then i2cset -y 0 0x48 0 0x0019 w; fi
exit 0
