#!/bin/bash
# Runs a command in a guest of user-mode Linux that systemd runs (a Debian by systemd-root.sh), with the system's D-Bus and
# the manager of a user. The cgroup layout is v2 (Debian 13), v1 or systemd's hybrid (Debian 12, since systemd 256 lacks
# them). This machine's file system is mounted at /host, and the current directory at its own path. Prints the command's
# output and ends with its status; writes to the guest's own root are discarded.
# usage: integration/guest/systemd.sh [--cgroup v2|v1|hybrid] [--memory 1G] [--limit SECONDS] [--append WORDS]
#   -- COMMAND [ARGUMENT...]
# WORDS are added to the kernel's command line.
# The command runs in the current directory with the current environment.
set -euo pipefail

cgroup=v2 memory=1G limit=600 release=bookworm append=''
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
	--)
		shift
		break
		;;
	*)
		echo "systemd: unknown option $1" >&2
		exit 2
		;;
	esac
done
[ $# -gt 0 ] || {
	echo "systemd: no command" >&2
	exit 2
}
case $cgroup in
v2) layout=(systemd.unified_cgroup_hierarchy=1) release=trixie ;;
hybrid) layout=(systemd.unified_cgroup_hierarchy=0) ;;
v1) layout=(systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1) ;;
*)
	echo "systemd: unknown layout $cgroup" >&2
	exit 2
	;;
esac
kernel=$("$(dirname "$0")/uml-kernel.sh")
image=$("$(dirname "$0")/systemd-root.sh" $release)

box=$(mktemp -d "${TMPDIR:-/var/tmp}/systemd.XXXXXX")
trap 'rm -rf "$box"' EXIT
: > "$box/out"
export -p > "$box/environment"
printf '%q ' "$@" > "$box/command"
cat > "$box/go" << GO
#!/bin/bash
mkdir -p "$PWD" "$box"
mount --bind "/host$PWD" "$PWD"
mount --bind "/host$box" "$box"
systemctl start dbus.socket user@1000.service
. "$box/environment"
cd "$PWD"
bash -c "\$(cat "$box/command")" < /dev/null > "$box/out" 2>&1
echo \$? > "$box/status"
GO
chmod +x "$box/go"

tail -q -n +1 --pid=$$ -f "$box/out" &
shown=$!
# shellcheck disable=SC2086  # words on purpose
"$(dirname "$0")/pinned.sh" timeout --kill-after=5 "$limit" "$kernel" "ubd0=$box/cow,$image" root=/dev/ubda rw "mem=$memory" con=null con0=null,fd:1 quiet \
	systemd.show_status=0 "${layout[@]}" $append \
	"systemd.run=\"/bin/sh -c 'mount -t hostfs none /host -o / && exec /host$box/go'\"" > "$box/console" 2>&1 < /dev/null || true
sleep 0.3
kill "$shown" 2> /dev/null || true
wait "$shown" 2> /dev/null || true
if [ ! -s "$box/status" ]; then
	echo "systemd: the guest ended without a status after at most $limit s; the end of its console:" >&2
	tail -n 20 "$box/console" >&2
	exit 125
fi
exit "$(cat "$box/status")"
