#!/bin/bash
# The run of podman.sh, inside its cell, whose network namespace is the site's.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=integration/gateway/sites.sh
. "$here/sites.sh"
# shellcheck source=integration/gateway/services.sh
. "$here/services.sh"
# shellcheck source=integration/gateway/checks.sh
. "$here/checks.sh"
# shellcheck source=integration/gateway/slots.sh
. "$here/slots.sh"
profiles=$here/../../seccomp-profiles
export CONTAINERS_CONF=/dev/null

podman_here() {
	podman --root "$W/podman" --runroot /run/podman --storage-driver vfs --cgroup-manager cgroupfs --events-backend none \
		--runtime "$EMBRUN" "$@"
}
play() { # FILE OPTION...
	podman_here kube play --quiet --seccomp-profile-root "$profiles" "${@:2}" "$here/pods/$1" > /dev/null
}
of() { podman_here inspect --format "{{$2}}" "$1-main"; } # SERVICE FIELD

explain() {
	local service
	podman_here ps --all
	for service in "${services[@]}"; do podman_here logs --tail 5 "$service-main" 2>&1; done
}

# The site's broker has a socket for the services without a network; the pods find all paths of the site in /run.
site_here() {
	mkdir -p /run/gateway /run/site
	chown 1000:1000 /run/gateway
	prepare site1
	mv "$W/site1/etc/gateway" /run/site/keys
	slots_up "$W/site1/slots" /run/site/slots
	broker site1 "$(address_of site1)"
	printf 'listener 0 /run/gateway/mqtt.sock\n' >> "$W/site1/broker.conf"
	ip address add "$(address_of site1)/24" dev gw
	mosquitto -c "$W/site1/broker.conf" > "$W/site1/log/broker" 2>&1 &
	"$here/sensors.py" site1 /run/sensors > "$W/site1/log/sensors" 2>&1 &
	eventually 30 "the site's broker" test -S /run/gateway/mqtt.sock
	chmod 666 /run/gateway/mqtt.sock
	eventually 30 "the sensors" test -e /run/sensors/actuator
	ln -s /run/sensors/sensor /run/sensors/actuator /run/site
	# shellcheck disable=SC2034  # sites.sh uses it
	pid_of[site1]=$$
	listen site1 "$W/site1.log"
}

authority cloud site1
ground_up
site_here
chown 1000:1000 "$IMAGES"/*/rootfs/data
for service in "${services[@]}"; do
	tar -C "$IMAGES/$service/rootfs" -c . |
		podman_here import --quiet --change "ENTRYPOINT [\"/$service\"]" - "localhost/gateway/$service:1" > /dev/null
done
say "the images are imported"
play local.yaml --network none
play wan.yaml
for service in "${services[@]}"; do
	[ "$(of "$service" .OCIRuntime)" = "$EMBRUN" ] || fail "$service has the runtime $(of "$service" .OCIRuntime)"
	eventually 60 "$service reports its health" grep -q "sites/site1/health/$service " "$W/site1.log" "$W/cloud.log"
done
eventually 60 "readings in the cloud" reached site1 "$EPOCHREALTIME"
say "five pods run, and readings reach the cloud"

# Each service tries what its role must not do; the exit status says whether all was denied. All but firmware-updater also find a node
# of a slot, which everybody may open, so that only the rules of the devices deny it.
for service in "${services[@]}"; do
	foreign=
	if [ "$service" != firmware-updater ]; then
		foreign=/dev/foreign
		mknod -m 666 "/proc/$(of "$service" .State.Pid)/root$foreign" b 7 "$(($(stat -c 0x%T /run/site/slots/a)))"
	fi
	podman_here exec --env TRY_DEVICES=$foreign "$service-main" "/$service" --try > "$W/$service.tries" 2>&1 ||
		fail "$service may do what its role must not: $(grep -v '"denied":true' "$W/$service.tries")"
	say "$service: pid $(of "$service" .State.Pid), denied $(grep -c '"denied":true' "$W/$service.tries") attempts"
done

firmware_is_installed site1 /run/site/slots

# A service that is killed comes back, and nothing is lost.
pid=$(of uplink .State.Pid)
kill -KILL "$pid"
restarted() { [ "$(of uplink .State.Running)" = true ] && [ "$(of uplink .State.Pid)" != "$pid" ]; }
eventually 60 "the uplink is restarted" restarted
eventually 60 "readings after the restart" reached site1 "$EPOCHREALTIME"
arrived site1
podman_here kube down "$here/pods/local.yaml" > /dev/null
podman_here kube down "$here/pods/wan.yaml" > /dev/null
[ -z "$(podman_here ps --all --quiet)" ] || fail "containers are left: $(podman_here ps --all)"
say "podman: ok"
