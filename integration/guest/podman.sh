#!/bin/bash
# Runs containers, a pod, health checks and services with Debian 13's podman, whose runtime gets its cgroups from systemd: as
# root and as an ordinary user. Inside a guest that systemd runs with cgroup v2.
# usage: integration/guest/podman.sh EMBRUN ROOTFS      ROOTFS holds the probe and is read only
set -euo pipefail
embrun=$(realpath "$1") rootfs=$(realpath "$2") failed=0
box=$(mktemp -d)
chmod 755 "$box"
tar -C "$rootfs" -cf "$box/image.tar" .

# is WHAT VALUE EXPECTED
is() {
	[ "$2" = "$3" ] || {
		echo "FAILED: $1: $2, expected $3"
		failed=1
	}
}

eventually() {
	for _ in $(seq 300); do
		"$@" && return
		sleep 0.1
	done
	echo "FAILED: never: $*"
	failed=1
}

# The engine's file says what each command needs; $HOME/.config has it for the user.
settings() { # FILE
	mkdir -p "$(dirname "$1")"
	cat > "$1" << CONF
[engine]
runtime = "embrun"
events_logger = "none"
cgroup_manager = "systemd"
[engine.runtimes]
embrun = ["$embrun"]
CONF
}
settings /etc/containers/containers.conf.d/embrun.conf
printf '[storage]\ndriver = "vfs"\nrunroot = "/run/containers/storage"\ngraphroot = "/var/lib/containers/storage"\n' > /etc/containers/storage.conf
install -d -o user -g user /home/user/.config /home/user/.config/containers
printf '[storage]\ndriver = "vfs"\n' > /home/user/.config/containers/storage.conf

# as WHO COMMAND...: as root, or as the user with the manager of its services.
as() {
	local who=$1
	shift
	case $who in
	root) "$@" ;;
	user) runuser -u user -- env -i HOME=/home/user PATH="$PATH" XDG_RUNTIME_DIR=/run/user/1000 \
		DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus "$@" ;;
	esac
}

# The path of a container's cgroup, and the status of its health.
cgroup() { sed 's/^0:://' "/proc/$(as "$1" podman inspect --format '{{.State.Pid}}' "$2")/cgroup"; }
healthy() { [ "$(as "$1" podman inspect --format '{{.State.Health.Status}}' "$2")" = healthy ]; }

# containers WHO SLICE
containers() {
	local who=$1 out status
	as "$who" podman import --quiet "$box/image.tar" fixture > "$box/import"
	out=$(as "$who" podman run --rm --network=none fixture sh -c 'echo out; exit 7') && status=0 || status=$?
	is "$who: run" "$out $status" "out 7"
	as "$who" podman run --detach --name=one --network=none --memory=64m --pids-limit=50 --health-cmd='test -e /tmp/well' \
		--health-interval=1s --health-retries=1000 fixture sleep 1000 > "$box/id"
	is "$who: exec" "$(as "$who" podman exec one sh -c 'echo from exec')" "from exec"
	out=$(cgroup "$who" one)
	is "$who: slice" "$(grep -c "$2/libpod-$(cat "$box/id").scope" <<< "$out")" 1
	is "$who: memory" "$(cat "/sys/fs/cgroup${out%/container}/memory.max")" 67108864
	as "$who" podman update --memory=96m one > "$box/update"
	is "$who: updated memory" "$(cat "/sys/fs/cgroup${out%/container}/memory.max")" 100663296
	# A timer of systemd runs the check.
	healthy "$who" one && is "$who: health before" healthy starting
	as "$who" podman exec one touch /tmp/well
	eventually healthy "$who" one
	as "$who" podman rm --force --time=0 one > "$box/removed"
}

# Two containers of a pod share its name and its namespaces. The kernel tests have pods of an ordinary user.
pod() {
	podman pod create --name=both --network=none --hostname=both --infra-image=fixture --infra-command='probe pause' > "$box/id"
	podman run --detach --pod=both --name=first fixture sleep 1000 > "$box/id"
	is "pod" "$(podman run --rm --pod=both fixture sh -c 'hostname; readlink /proc/self/ns/uts')" \
		"$(printf 'both\n' && podman exec first readlink /proc/self/ns/uts)"
	podman pod rm --force --time=0 both > "$box/removed"
}

# service WHO UNITS QUADLETS: units of Type=notify that quadlet writes, and one that ignores the socket.
service() {
	local who=$1 manager=() mode notify
	[ "$who" = root ] || manager=(--user)
	as "$who" mkdir -p "$2" "$3"
	for mode in container conmon; do
		[ $mode = container ] && notify=true || notify=false
		as "$who" tee "$3/$mode.container" > "$box/tee" << UNIT
[Container]
Image=localhost/fixture
Network=none
Notify=$notify
Exec=probe trap TERM until /tmp/go notify READY=1+STATUS=up await TERM
[Service]
TimeoutStartSec=90
UNIT
	done
	as "$who" tee "$2/ignore.service" > "$box/tee" << UNIT
[Service]
Type=exec
ExecStart=podman run --rm --name=ignore --network=none --sdnotify=ignore fixture sh -c 'test -z "\$NOTIFY_SOCKET" && exit 5'
SuccessExitStatus=5
RemainAfterExit=yes
UNIT
	as "$who" systemctl "${manager[@]}" daemon-reload
	as "$who" systemctl "${manager[@]}" start --no-block container conmon ignore
	property() { as "$who" systemctl "${manager[@]}" show --value --property "$2" "$1"; }
	reached() { [ "$(property "$1" "$2")" = "$3" ]; }
	# Podman says that it is ready once the container runs; the container says so when it is asked to.
	eventually reached conmon ActiveState active
	eventually as "$who" podman exec systemd-container true 2> "$box/errors"
	is "$who: container before READY" "$(property container ActiveState)" activating
	as "$who" podman exec systemd-container touch /tmp/go
	as "$who" podman exec systemd-conmon touch /tmp/go
	eventually reached container ActiveState active
	eventually reached container StatusText up
	is "$who: main process" "$(cat "/proc/$(property container MainPID)/comm")" conmon
	is "$who: cgroup of the unit" "$(cgroup "$who" systemd-container | grep -c container.service/)" 1
	eventually reached ignore SubState exited
	is "$who: ignored socket" "$(property ignore ExecMainStatus)" 5
	as "$who" systemctl "${manager[@]}" stop container conmon ignore
	is "$who: result" "$(property container Result) $(property conmon Result)" "success success"
}

containers root /machine.slice
pod
service root /run/systemd/system /etc/containers/systemd
containers user /user.slice/user-1000.slice/user@1000.service/user.slice
service user /home/user/.config/systemd/user /home/user/.config/containers/systemd
for who in root user; do is "$who: left" "$(as $who podman ps --all --quiet)" ""; done
rm -rf "$box"
[ $failed = 0 ] && echo "podman with systemd: ok"
exit $failed
