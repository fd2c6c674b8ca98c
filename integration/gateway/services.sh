#!/bin/bash
# Sourced: the five services as images in the registry and as services of the Swarm.
# needs: sites.sh; IMAGES, a directory with a root file system for each service

services=(data-collector data-processor uplink device-controller firmware-updater)
# shellcheck disable=SC2034  # checks.sh uses it
sites=(site1 site2 site3)

# Makes an image of a service and pushes it.
image() { # SERVICE TAG CHANGE...
	local name=$REGISTRY/$1:$2 change changes=()
	for change in "${@:3}"; do changes+=(--change "$change"); done
	tar -C "$IMAGES/$1/rootfs" -c . | docker_at site1 import "${changes[@]}" - "$name" > /dev/null
	docker_at site1 push -q "$name" > /dev/null
}

images() {
	local service
	# A new volume takes the owner of the directory in the image.
	chown 1000:1000 "$IMAGES"/*/rootfs/data
	for service in "${services[@]}"; do
		image "$service" 1 "ENTRYPOINT [\"/$service\"]" 'LABEL version=1'
	done
	for service in data-processor uplink; do
		image "$service" 2 "ENTRYPOINT [\"/$service\"]" 'LABEL version=2'
	done
	# It starts, and fails at once: its data directory does not exist.
	image data-processor 3 "ENTRYPOINT [\"/data-processor\"]" 'LABEL version=3' 'ENV DATA=/nowhere'
}

# Creates a service with the options of all: a read-only root, no capabilities, and the keys of the site.
create() { # SERVICE OPTION...
	local service=$1
	shift
	docker_at site1 service create --quiet --detach --name "$service" --mode global --network host \
		--user 1000:1000 --read-only --cap-drop ALL --limit-memory 32M --limit-pids 16 \
		--mount type=bind,source=/etc/gateway,target=/etc/gateway,readonly \
		--env SITE='{{.Node.Hostname}}' --env BROKER=127.0.0.1:8883 \
		--env CA=/etc/gateway/ca.crt --env CERT=/etc/gateway/site.crt --env KEY=/etc/gateway/site.key \
		--restart-delay 1s --stop-grace-period 5s --update-parallelism 0 --update-monitor 5s \
		--update-failure-action rollback --rollback-parallelism 0 --rollback-monitor 1s \
		"$@" "$REGISTRY/$service:1" > /dev/null
}

create_all() {
	create data-collector --mount type=bind,source=/run/sensors/sensor,target=/dev/sensor --env SERIAL=/dev/sensor
	create data-processor --mount type=volume,source=window,target=/data --env HIGH=24.9
	create uplink --mount type=volume,source=queue,target=/data --env CLOUD="$cloud:8883"
	create device-controller --mount type=bind,source=/run/sensors/actuator,target=/dev/actuator \
		--env ACTUATOR=/dev/actuator --env ON_ALARM=1
	# site-init.sh allows its containers to use the slots, which are block devices.
	create firmware-updater --mount type=bind,source=/run/slots,target=/slots \
		--env SLOT_A=/slots/a --env SLOT_B=/slots/b --env CLOUD="$cloud:8883"
}

# The site's disk before its first boot.
prepare() { # SITE
	local keys=$W/$1/etc/gateway
	mkdir -p "$keys" "$W/$1/slots"
	cp "$W/keys"/{ca.crt,command.pub,firmware.pub} "$keys"
	cp "$W/keys/$1.crt" "$keys/site.crt"
	cp "$W/keys/$1.key" "$keys/site.key"
	truncate -s 4M "$W/$1/slots/a" "$W/$1/slots/b"
	chown -R 1000:1000 "$W/$1/slots" "$keys"
	chmod 400 "$keys/site.key"
}

# A line for each service of a site: its name, container, pid and start time.
running() { # SITE
	local id name pid
	docker_at "$1" ps --no-trunc --format '{{.ID}} {{.Label "com.docker.swarm.service.name"}}' | while read -r id name; do
		pid=$(docker_at "$1" inspect --format '{{.State.Pid}}' "$id")
		echo "$name $id $pid $(inside "$1" cut -d' ' -f22 "/proc/$pid/stat")"
	done | sort
}
version_at() { # SITE SERVICE: the versions of its running containers
	docker_at "$1" ps --format '{{.Image}}' --filter "label=com.docker.swarm.service.name=$2" | sed 's/.*://' | xargs
}
has_version() { # SERVICE VERSION SITE...
	local site
	for site in "${@:3}"; do [ "$(version_at "$site" "$1")" = "$2" ] || return 1; done
}
all_run() { # SITE...
	local site
	for site in "$@"; do [ "$(docker_at "$site" ps -q | wc -l)" = ${#services[@]} ] || return 1; done
}
update_state() { docker_at site1 service inspect --format '{{.UpdateStatus.State}}' "$1"; }
update_ended() { [ "$(update_state "$1")" = "$2" ]; }

# Prints the states and the last logs of the services, to show why a run failed.
explain() {
	local service site id name
	for service in "${services[@]}"; do
		docker_at site1 service ps --no-trunc --format '{{.Node}} {{.Image}} {{.CurrentState}} {{.Error}}' "$service" | head -n 8
	done
	for site in "${sites[@]}"; do
		docker_at "$site" ps --all --format '{{.ID}} {{.Names}} {{.Status}}' | while read -r id name; do
			echo "== $site $name"
			docker_at "$site" logs --tail 5 "$id" 2>&1
		done
	done
}
