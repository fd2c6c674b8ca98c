#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013
# Pid 1 of an emulated guest. qemu.sh passes settings on the kernel's command line, and the command in /host, which is 9p.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /host
mount -t devpts -o ptmxmode=666 pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
arg() { for w in $(cat /proc/cmdline); do case $w in embrun.$1=*) echo "${w#*=}" ;; esac done }
for m in /mods/*; do insmod "$m" 2> /dev/null; done
ip link set lo up
[ -z "$(arg date)" ] || date -u -s "@$(arg date)" > /dev/null || {
	echo "GUEST: clock not set"
	poweroff -f
}
case $(arg cgroup) in
v1)
	mount -t tmpfs cgroup /sys/fs/cgroup
	for c in $(awk '$4 == 1 { print $1 }' /proc/cgroups); do
		mkdir "/sys/fs/cgroup/$c" && mount -t cgroup -o "$c" "$c" "/sys/fs/cgroup/$c"
	done
	;;
v2)
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	for c in $(cat /sys/fs/cgroup/cgroup.controllers); do echo "+$c" > /sys/fs/cgroup/cgroup.subtree_control; done
	;;
esac
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=mmap host /host || echo "GUEST: no share"

# The kernel's first root is an initramfs, and pivot_root does not work from there. Real devices have another root, so a tmpfs
# becomes the root by default. --root initramfs stays there, --root ro makes the tmpfs read-only, and --disk uses a Debian.
root=$(arg root) new=/mnt
if [ "$root" != initramfs ]; then
	mkdir -p $new
	if [ "$root" = disk ]; then mount -t ext4 /dev/vda $new; else mount -t tmpfs -o size=80% root $new; fi
	mkdir -p $new/proc $new/sys $new/dev $new/host $new/run $new/tmp $new/etc $new/root $new/usr $new/var/tmp
	[ "$root" = disk ] || cp -a /bin $new/
	for d in proc sys dev host; do mount --move /$d $new/$d; done
else
	new=/
	mkdir -p /run /tmp /etc /root
fi
printf 'root:x:0:0:root:/root:/bin/sh\n' > $new/etc/passwd
printf 'root:x:0:\n' > $new/etc/group
cat > $new/bin/go << 'GO'
#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/bin HOME=/root
arg() { for w in $(cat /proc/cmdline); do case $w in embrun.$1=*) echo "${w#*=}";; esac; done; }
mount -t tmpfs tmp /tmp
case $(arg run) in no) rmdir /run;; *) mount -t tmpfs -o mode=755 run /run;; esac
[ "$(arg root)" != ro ] || mount -o remount,ro /
echo "GUEST-UP $(uname -rm) after $(cut -d' ' -f1 /proc/uptime) s"
cd /host/share && sh /host/command < /dev/null > /host/out 2>&1; echo $? > /host/status
sync; /bin/busybox poweroff -f
GO
chmod +x $new/bin/go
if [ "$root" = initramfs ]; then exec /bin/go; else exec switch_root $new /bin/go; fi
