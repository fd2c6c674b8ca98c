#!/bin/sh
# Keeps a container running without an engine, for the init of busybox: it restarts the container, writes what it prints to a log, and
# tells a program of each change. It needs embrun and busybox.
# usage: embrun-service.sh start|stop|restart|status|run BUNDLE      (run: like start, in the foreground, for inittab's respawn)
# The directory's name is the container's id. The file BUNDLE/service may set:
#   RESTART  on-failure (default), always or no
#   DELAY    seconds before the first restart (default: 1); each further one waits twice as long, at most 60
#   STOP     seconds between TERM and KILL (default: 10)
#   LOG      syslog (default), or a file; a file of more than LOG_KB (default: 1024) is renamed to LOG.0
#   NOTIFY   a program that is called with the id and: started, ended STATUS, stopped
#   EMBRUN   the command with its global options (default: embrun)
set -u
command=${1:-} bundle=${2:-}
[ -d "$bundle" ] || {
	echo "usage: $0 start|stop|restart|status|run BUNDLE" >&2
	exit 2
}
bundle=$(cd "$bundle" && pwd)
name=${bundle##*/}
RESTART=on-failure DELAY=1 STOP=10 LOG=syslog LOG_KB=1024 NOTIFY=: EMBRUN=embrun
# shellcheck disable=SC1091
[ ! -f "$bundle/service" ] || . "$bundle/service"
# Of the script, of the container, and the marker that it is to end.
pids=/run/embrun-service.$name

seconds() { cut -d. -f1 /proc/uptime; }

write_log() {
	[ "$LOG" != syslog ] || exec logger -t "$name"
	size=$(wc -c 2> /dev/null < "$LOG" || echo 0)
	while IFS= read -r line || [ -n "$line" ]; do
		if [ "$size" -gt $((LOG_KB * 1024)) ]; then
			mv "$LOG" "$LOG.0"
			size=0
		fi
		printf '%s\n' "$line" >> "$LOG"
		size=$((size + ${#line} + 1))
	done
}

# Runs the container once and returns its status.
run_once() {
	# A power cut or a kill may have left the last one.
	$EMBRUN delete --force "$name"
	rm -f "$pids.container"
	$EMBRUN run --bundle "$bundle" --pid-file "$pids.container" "$name" < /dev/null &
	pid=$!
	until [ -s "$pids.container" ] || ! kill -0 "$pid" 2> /dev/null; do sleep 0.1; done
	[ ! -s "$pids.container" ] || $NOTIFY "$name" started
	# A signal to this script ends one wait.
	status=0
	wait "$pid" || status=$?
	while kill -0 "$pid" 2> /dev/null; do
		status=0
		wait "$pid" || status=$?
	done
	pid=
	return $status
}

# embrun forwards TERM to the container.
end() {
	stopping=yes
	[ -n "$pid" ] || return 0
	kill -TERM "$pid"
	(
		i=0
		while [ $i -lt "$STOP" ] && kill -0 "$pid" 2> /dev/null; do
			sleep 1
			i=$((i + 1))
		done
		! kill -0 "$pid" 2> /dev/null || $EMBRUN kill "$name" KILL
	) &
}

supervise() {
	stopping='' pid='' delay=$DELAY
	trap end TERM INT
	while [ -z "$stopping" ]; do
		began=$(seconds)
		status=0
		run_once || status=$?
		[ -z "$stopping" ] || break
		$NOTIFY "$name" ended $status
		case $RESTART in
		always) ;;
		on-failure) [ $status != 0 ] || break ;;
		*) break ;;
		esac
		[ $(($(seconds) - began)) -lt 60 ] || delay=$DELAY
		sleep "$delay" &
		wait $!
		delay=$((delay * 2 > 60 ? 60 : delay * 2))
	done
	rm -f "$pids" "$pids.container"
	$NOTIFY "$name" stopped
}

is_running() { [ -s "$pids" ] && kill -0 "$(cat "$pids")" 2> /dev/null; }

case $command in
run | start)
	! is_running || {
		echo "$name is running already" >&2
		exit 1
	}
	if [ "$command" = start ]; then
		setsid "$0" run "$bundle" < /dev/null > /dev/null 2>&1 &
		exit 0
	fi
	echo $$ > "$pids"
	log=$pids.log
	rm -f "$log"
	mkfifo -m 600 "$log"
	write_log < "$log" &
	exec > "$log" 2>&1
	rm -f "$log"
	supervise
	;;
stop)
	is_running || exit 0
	kill -TERM "$(cat "$pids")"
	while is_running; do sleep 0.1; done
	;;
restart)
	"$0" stop "$bundle"
	"$0" start "$bundle"
	;;
status)
	if is_running; then
		$EMBRUN state "$name"
	else
		echo "$name is stopped"
		exit 3
	fi
	;;
*)
	echo "usage: $0 start|stop|restart|status|run BUNDLE" >&2
	exit 2
	;;
esac
