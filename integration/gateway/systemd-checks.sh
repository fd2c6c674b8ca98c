#!/bin/bash
# Runs a site as systemd units inside a guest that systemd runs: all units become active, data reaches the cloud's broker, and the
# watchdog restarts a service that hangs.
# usage: systemd-checks.sh ROOT units|quadlet      ROOT: from guest-root.sh; units run embrun alone, quadlet runs podman with embrun
set -euo pipefail
root=$1 form=$2 own=$(dirname "$0") failed=0
services="data-collector data-processor uplink device-controller firmware-updater"
export PATH=$PATH:/usr/sbin:/sbin
eventually() {
	for _ in $(seq 400); do
		if "$@"; then
			echo "ok $*"
			return
		fi
		sleep 0.5
	done
	echo "FAIL $*: not in time"
	failed=1
}
property() { systemctl show --value --property "$2" "$1"; }
has() { grep -q "^sites/a/$1 " "$work/record"; }
pid_of() { case $form in units) embrun state "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p' ;; quadlet) podman inspect --format '{{.State.Pid}}' "$1" ;; esac }
active() { [ "$(property "$1" ActiveState)" = active ]; }
restarted() { [ "$(property "$1" NRestarts)" -ge 1 ] && active "$1"; }
has_since() { tail -n +"$2" "$work/record" | grep -q "^sites/a/$1 "; }

work=$(mktemp -d)
mkdir -p /run/gateway /etc/gateway /var/lib/gateway /srv
cp -a "$root/etc/gateway/." /etc/gateway/
cp -a "$root/srv/." /srv/
cp "$root/usr/bin/embrun" "$root/usr/bin/sensor" /usr/bin/
useradd -u 1001 mosquitto 2> /dev/null || true
for service in data-processor uplink firmware-updater; do mkdir -p /var/lib/gateway/$service; done
chown 1000:1000 /run/gateway /var/lib/gateway/*
for slot in a b; do truncate -s 3M /var/lib/gateway/slot-$slot; done
for module in "$root"/mods/*.ko; do
	case $module in *i2c-stub*) "$root/usr/bin/busybox" insmod "$module" chip_addr=0x48 ;; *nbd*) ;; *) "$root/usr/bin/busybox" insmod "$module" ;; esac
done
losetup /dev/loop0 /var/lib/gateway/slot-a
losetup /dev/loop1 /var/lib/gateway/slot-b
sensor sensor0 < /dev/null > "$work/sensor" 2>&1 &
eventually test -e /dev/sensor0
major=$((16#$(stat -c %t /dev/sensor0)))
sed -i "s/4242/$major/" /srv/*/config.json
stty -F /dev/ttyS2 raw -echo

units=/run/systemd/system
mkdir -p $units
# The loader must be of the same C library as the one that mosquitto brings.
library=$(echo "$root"/usr/lib/*-linux-gnu)
loader="$(echo "$library"/ld-linux-*) --library-path $library"
sed -i 's/^user .*/user user/' /etc/gateway/broker.conf
printf 'listener 8883 127.0.0.1\ncafile %s/ca.crt\ncertfile %s/cloud.crt\nkeyfile %s/cloud.key\nrequire_certificate true\nallow_anonymous true\nuser root\n' \
	/etc/gateway/cloud /etc/gateway/cloud /etc/gateway/cloud > /etc/gateway/cloud.conf
for broker in broker cloud; do
	cat > $units/gateway-$broker.service << UNIT
[Service]
ExecStart=$loader $root/usr/sbin/mosquitto -c /etc/gateway/$broker.conf
UNIT
done
case $form in
units) "$own/guest-units.sh" /srv $units /usr/bin/embrun ;;
quadlet) "$own/guest-quadlets.sh" /srv /usr/bin/embrun ;;
esac
systemctl daemon-reload
systemctl start gateway-broker gateway-cloud
keys=/etc/gateway/cloud
sub() { $loader "$root/usr/sbin/mosquitto_sub" -h 127.0.0.1 -p 8883 --cafile $keys/ca.crt --cert $keys/client.crt --key $keys/client.key "$@"; }
connected() { sub -t '$SYS/broker/version' -C 1 > "$work/version" 2>&1; }
eventually connected
sub -q 1 -t 'sites/#' -F '%t %p' > "$work/record" 2>&1 &
# shellcheck disable=SC2086  # words on purpose
systemctl start --no-block $services
for service in $services; do eventually active $service; done
for kind in readings results "done" health/firmware-updater; do eventually has $kind; done
for service in $services; do echo "unit $service: $(property $service ActiveState), $(property $service Type), watchdog $(property $service WatchdogUSec)"; done

# A service that hangs: no process of it runs, so nothing feeds the watchdog.
pid=$(pid_of data-processor)
kill -STOP "$pid"
eventually restarted data-processor
[ "$(pid_of data-processor)" != "$pid" ] || {
	echo "FAIL data-processor has the same process"
	failed=1
}
journalctl -u data-processor -o cat | grep -i 'watchdog' | head -n 1 || {
	echo "FAIL no watchdog in the journal"
	failed=1
}
line=$(($(wc -l < "$work/record") + 1))
eventually has_since results $line
for service in data-collector uplink device-controller firmware-updater; do
	[ "$(property $service NRestarts)" = 0 ] || {
		echo "FAIL $service restarted"
		failed=1
	}
done
# shellcheck disable=SC2086  # words on purpose
systemctl stop $services
left=$(case $form in units) embrun list -q ;; quadlet) podman ps --all --quiet ;; esac)
[ -z "$left" ] || {
	echo "FAIL left: $left"
	failed=1
}
if [ $failed = 0 ]; then echo "site with systemd ($form): ok"; else
	journalctl -o cat | tail -n 50
	cut -d' ' -f1 "$work/record" | sort | uniq -c
fi
exit $failed
