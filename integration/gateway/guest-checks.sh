#!/bin/sh
# shellcheck shell=dash disable=SC2013,SC2016
# Checks a site from inside its guest, started by busybox's init after the services: data flows through all five, an update of the
# firmware is confirmed, a killed service comes back, and each role is denied what it must not do. The cloud's broker is in the guest.
# It needs busybox alone. Each check prints a line: `ok NAME` or `FAIL NAME: reason`. usage: guest-checks.sh OUT
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
out=$1
failures=0
exec > "$out" 2>&1
site=sites/a
keys=/etc/gateway/cloud
export SITES=a BROKER=127.0.0.1:8883 CA=$keys/ca.crt CERT=$keys/client.crt KEY=$keys/client.key
uptime() { cut -d' ' -f1 /proc/uptime; }
ok() { echo "ok $1"; }
fail() {
	echo "FAIL $1: $2"
	failures=$((failures + 1))
}
# eventually NAME COMMAND...: emulated processors are slow.
eventually() {
	name=$1 n=0
	shift
	until "$@"; do
		n=$((n + 1))
		[ $n -lt "${PATIENCE:-1200}" ] || {
			fail "$name" "not in time; the cloud has: $(cut -d' ' -f1 /tmp/record | sort | uniq -c | tr '\n' ' ')"
			return 1
		}
		usleep 200000
	done
	ok "$name"
}
has() { grep -q "^$site/$1 .*$2" /tmp/record; }
pid_of() { embrun state "$1" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }
running() { [ "$(pid_of "$1")" != "$2" ] && embrun state "$1" | grep -q '"running"'; }

began=$(uptime)
printf 'listener 8883 127.0.0.1\ncafile %s/ca.crt\ncertfile %s/cloud.crt\nkeyfile %s/cloud.key\nrequire_certificate true\nallow_anonymous true\nuser root\n' \
	$keys $keys $keys > /tmp/cloud.conf
mosquitto -c /tmp/cloud.conf > /tmp/cloud.log 2>&1 &
until mosquitto_sub -h 127.0.0.1 -p 8883 --cafile $CA --cert $CERT --key $KEY -t '$SYS/broker/version' -C 1 > /dev/null 2>&1; do usleep 200000; done
mosquitto_sub -h 127.0.0.1 -p 8883 --cafile $CA --cert $CERT --key $KEY -q 1 -t 'sites/#' -F '%t %p' > /tmp/record 2> /tmp/record.log &

until has readings ''; do usleep 50000; done
echo "first reading $(uptime) s after boot, init's services began after $began s"
for kind in results alarms "done"; do eventually "$kind" has $kind ''; done
for sensor in $(cat /etc/gateway/sensors); do eventually "sensor_$sensor" has readings "\"sensor\":\"$sensor\""; done
eventually firmware-updater has health/firmware-updater ''
echo "all services work $(uptime) s after boot"
eventually alarm_sets_actuator has "done" '"cause":"alarm"'

# The cloud commands the actuator.
gateway-tool command $keys/command.key a 0 > /tmp/command
mosquitto_pub -h 127.0.0.1 -p 8883 --cafile $CA --cert $CERT --key $KEY -q 1 -t $site/commands -f /tmp/command
eventually command has "done" '"cause":"command"'

# An update of the firmware.
dd if=/dev/urandom of=/tmp/image bs=64k count=16 2> /dev/null
gateway-tool firmware $keys/firmware.key 1 /tmp/image || fail publish "status $?"
eventually firmware_confirmed has firmware/status '"what":"confirmed"'
slots=$(gateway-tool slots /dev/loop0 /dev/loop1 | tr '\n' ' ')
case $slots in *'"version":1,"standing":"Confirmed","whole":true,"active":true'*) ok slots ;; *) fail slots "$slots" ;; esac

# A role's own program tries all that it must not do; the services keep working.
for service in data-collector data-processor uplink device-controller firmware-updater; do
	embrun exec "$service" "/$service" --try > /tmp/try 2>&1 || fail "denied_$service" "$(grep -v '"denied":true' /tmp/try | tr '\n' ' ')"
	ok "denied_$service: $(grep -c '"denied":true' /tmp/try) attempts"
done

# A killed service comes back, and the others stay.
others=$(for service in data-processor uplink device-controller firmware-updater; do pid_of $service; done)
pid=$(pid_of data-collector)
embrun kill data-collector KILL
eventually restarted running data-collector "$pid"
[ "$others" = "$(for service in data-processor uplink device-controller firmware-updater; do pid_of $service; done)" ] ||
	fail others_stay "$others"

for service in data-collector data-processor uplink device-controller firmware-updater; do
	echo "service $service: $(awk '$1 == "VmRSS:" { print $2 }' "/proc/$(pid_of $service)/status") KB resident"
done
echo "kernel $(uname -r) $(uname -m), $failures failures"
poweroff -f
