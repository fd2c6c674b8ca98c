#!/bin/bash
# Runs a command in a guest of user-mode Linux whose root file system is this machine's own (hostfs), with pure cgroup v2, with v1
# or without cgroups. The guest has every capability, but no cpuset and no time namespace. Prints the command's output and ends
# with its status. The kernel is Debian's user-mode-linux (uml-kernel.sh).
# usage: integration/guest/uml.sh [--cgroup v2|v1|none] [--memory 1G] [--limit SECONDS] [--kernel FILE] [--append WORDS] --
#   COMMAND [ARGUMENT...]
# WORDS are added to the kernel's command line.
# The command runs in the current directory with the current environment.
set -euo pipefail

cgroup=v2 memory=1G limit=1200 kernel='' append=''
while [ $# -gt 0 ]; do
	case $1 in
	--cgroup)
		cgroup=$2
		shift 2
		;;
	--memory)
		memory=$2
		shift 2
		;;
	--limit)
		limit=$2
		shift 2
		;;
	--append)
		append=$2
		shift 2
		;;
	--kernel)
		kernel=$2
		shift 2
		;;
	--)
		shift
		break
		;;
	*)
		echo "uml: unknown option $1" >&2
		exit 2
		;;
	esac
done
[ $# -gt 0 ] || {
	echo "uml: no command" >&2
	exit 2
}

[ -n "$kernel" ] || kernel=$("$(dirname "$0")/uml-kernel.sh")
box=$(mktemp -d "${TMPDIR:-/var/tmp}/uml.XXXXXX")
trap 'rm -rf "$box"' EXIT
: > "$box/out"
export -p > "$box/environment"
printf '%q ' "$@" > "$box/command"

# The guest's init. /run is empty; the rest of the file system is the host's, and writes go to the host.
cat > "$box/init" << INIT
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
mount -t tmpfs run /run
case $cgroup in
v2)
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	for c in \$(cat /sys/fs/cgroup/cgroup.controllers); do echo "+\$c" > /sys/fs/cgroup/cgroup.subtree_control; done ;;
v1)
	mount -t tmpfs cgroup /sys/fs/cgroup
	for c in \$(awk '\$4 == 1 { print \$1 }' /proc/cgroups); do
		mkdir "/sys/fs/cgroup/\$c" && mount -t cgroup -o "\$c" "\$c" "/sys/fs/cgroup/\$c"
	done ;;
esac
ip link set lo up 2>/dev/null
# The tests of linux.netDevices make pairs of devices.
insmod ${kernel%/bin/*}/lib/uml/modules/*/kernel/drivers/net/veth.ko 2>/dev/null
. "$box/environment"
cd "$PWD"
bash -c "\$(cat "$box/command")" < /dev/null > "$box/out" 2>&1
echo \$? > "$box/status"
sync
echo o > /proc/sysrq-trigger
sleep 60
INIT
chmod +x "$box/init"

tail -q -n +1 --pid=$$ -f "$box/out" &
shown=$!
# shellcheck disable=SC2086  # words on purpose
"$(dirname "$0")/pinned.sh" timeout --kill-after=5 "$limit" "$kernel" root=/dev/root rootfstype=hostfs rootflags=/ rw "mem=$memory" \
	"init=$box/init" con=null con0=null,fd:1 quiet $append > "$box/console" 2>&1 < /dev/null || true
sleep 0.3
kill "$shown" 2> /dev/null || true
wait "$shown" 2> /dev/null || true
if [ ! -s "$box/status" ]; then
	echo "uml: the guest ended without a status after at most $limit s; the end of its console:" >&2
	tail -n 20 "$box/console" >&2
	exit 125
fi
exit "$(cat "$box/status")"
