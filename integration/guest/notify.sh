#!/bin/bash
# Runs services of Type=notify whose container tells systemd that it is ready. Inside a guest that systemd runs.
# usage: integration/guest/notify.sh EMBRUN ROOTFS      ROOTFS holds the probe and is read only
set -euo pipefail
embrun=$(realpath "$1") rootfs=$(realpath "$2") units=/run/systemd/system failed=0
bundles=$(mktemp -d)
mkdir -p "$units"

# unit NAME START-LINES WORDS: a service whose container performs the words of the probe.
unit() {
	mkdir "$bundles/$1"
	sed 's/[^ ]*/"&"/g; s/ /, /g' <<< "probe $3" > "$bundles/args"
	cat > "$bundles/$1/config.json" << CONFIG
{
	"ociVersion": "1.0.2",
	"process": {"user": {"uid": 0, "gid": 0}, "args": [$(cat "$bundles/args")], "env": ["PATH=/bin"], "cwd": "/"},
	"root": {"path": "$rootfs", "readonly": true},
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/run", "type": "tmpfs", "source": "tmpfs"},
		{"destination": "/shared", "type": "bind", "source": "$bundles/$1", "options": ["bind"]}
	],
	"linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}]}
}
CONFIG
	cat > "$units/$1.service" << UNIT
[Service]
Type=notify
TimeoutStartSec=60
$2
ExecStopPost=-$embrun delete --force $1
UNIT
	systemctl daemon-reload
}

property() { systemctl show --value --property "$2" "$1"; }
status() { "$embrun" state "$1" | sed -n "s/.*\"$2\": \"\\?\\([a-z0-9]*\\).*/\\1/p"; }

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
said() { [ "$(property "$1" StatusText)" = "$2" ]; }
gone() { ! "$embrun" state "$1" > "$bundles/state" 2>&1; }

unit front "ExecStart=$embrun run --bundle $bundles/front front" \
	'notify STATUS=starting until /shared/go notify READY=1 notify STATUS=up until /shared/end notify STOPPING=1'
systemctl start --no-block front
eventually said front starting
is "front before READY" "$(property front ActiveState)" activating
touch "$bundles/front/go"
systemctl start front
eventually said front up
is "front" "$(property front ActiveState)" active
is "main process of front" "$(cat "/proc/$(property front MainPID)/comm")" "$(basename "$embrun")"
touch "$bundles/front/end"
eventually gone front
is "result of front" "$(property front Result)" success

for name in back pair; do
	# systemd gives the variable to ExecStartPre only with NotifyAccess=all.
	case $name in
	back) lines="ExecStart=$embrun run --detach --bundle $bundles/back back" ;;
	pair) lines="NotifyAccess=all
ExecStartPre=$embrun create --bundle $bundles/pair pair
ExecStart=$embrun start pair" ;;
	esac
	unit $name "$lines" 'trap TERM notify MAINPID=1+STATUS=here+READY=1 await TERM'
	systemctl start $name
	eventually said $name here
	is "$name" "$(property $name ActiveState)" active
	is "main process of $name" "$(property $name MainPID)" "$(status $name pid)"
	systemctl stop $name
	# The main process is in the container's cgroup, not in the unit's. systemd does not wait for the end of such a process after
	# SIGTERM: it sends SIGKILL at once, and since it has pidfds it may see that.
	result=$(property $name Result)
	is "result of $name" "${result/signal/success}" success
	eventually gone $name
done

# One that ends before it is ready.
unit early "ExecStart=$embrun run --detach --bundle $bundles/early early" 'notify STATUS=never exit 3'
systemctl start early 2> "$bundles/errors" && is early started refused
is "result of early" "$(property early Result)" protocol
eventually gone early

# One that is alive for longer than the watchdog waits, and then hangs.
unit hangs "WatchdogSec=4
Restart=on-watchdog
ExecStart=$embrun run --bundle $bundles/hangs hangs" \
	'notify READY=1 notify WATCHDOG=1 sleep 2 notify WATCHDOG=1 sleep 2 notify WATCHDOG=1 sleep 2 notify WATCHDOG=1 pause'
systemctl start hangs
sleep 5
is "restarts of hangs while it is alive" "$(property hangs NRestarts)" 0
restarted() { [ "$(property hangs NRestarts)" -ge 1 ] && [ "$(property hangs ActiveState)" = active ]; }
eventually restarted
is "container of hangs" "$(status hangs status)" running
systemctl stop hangs
eventually gone hangs

rm -rf "$bundles"
[ $failed = 0 ] && echo "services of Type=notify: ok"
exit $failed
