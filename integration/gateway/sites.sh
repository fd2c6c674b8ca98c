#!/bin/bash
# Sourced: the network of the sites and the cloud, which is a bridge in the cell's network namespace, and functions that switch
# sites and links on and off.
# needs: W, the run's directory; here, this folder; REGISTRY, its address; TOOL, gateway-tool

began=$EPOCHREALTIME
bridge=10.77.0.1 cloud=10.77.0.2
declare -A pid_of unshare_of

say() { printf '%6.1f s  %s\n' "$(since "$began")" "$*"; }
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }
fail() {
	echo "FAILED: $*" >&2
	[ ! -s "$W/last" ] || tail -n 20 "$W/last" >&2
	tail -n 5 "$W"/*/log/* >&2
	[ -z "${pid_of[site1]:-}" ] || explain >&2
	exit 1
}
eventually() { # SECONDS WHAT COMMAND...: a status of 3 means that waiting does not help
	local what=$2 end=$((SECONDS + $1))
	shift 2
	until "$@" > "$W/last" 2>&1; do
		[ $? != 3 ] && [ $SECONDS -lt $end ] || fail "never: $what: $*"
		sleep 0.2
	done
}
event() { echo "$EPOCHREALTIME $*" >> "$W/events"; } # begin|end KIND SITE, for the plot

address_of() { case $1 in cloud) echo $cloud ;; *) echo "10.77.0.1${1#site}" ;; esac }
inside() { # NAME COMMAND...: in the namespaces of a site or of the cloud
	local name=$1
	shift
	nsenter -t "${pid_of[$name]}" -n -m -u -p -- "$@"
}
docker_at() { # SITE ARGUMENT...
	local site=$1
	shift
	inside "$site" docker --host unix:///run/docker.sock "$@"
}

# Makes the keys of the run: an authority, a certificate for the broker and the clients of each name, and those that sign.
authority() { # NAME...
	local name pairs=()
	for name; do pairs+=("$name=127.0.0.1,$(address_of "$name")"); done
	"$here/certs.sh" "$W/keys" "$TOOL" "${pairs[@]}"
}

# A broker that accepts only clients with a key of the authority. It keeps subscriptions on its disk: after a power cut it holds
# readings back for an uplink that is not there yet. Its directory holds its settings and its log, which is written line by line.
broker() { # NAME ADDRESS
	mkdir -p "$W/$1/log"
	cat > "$W/$1/broker.conf" << CONF
user root
listener 8883
cafile $W/keys/ca.crt
certfile $W/keys/$1.crt
keyfile $W/keys/$1.key
require_certificate true
allow_anonymous true
persistence true
persistence_location $W/$1/
autosave_interval 5
max_queued_messages 0
max_inflight_messages 100
log_dest stderr
log_type error
log_type warning
log_type notice
CONF
}

# Writes each message at a broker with its time of arrival to a file.
listen() { # NAME FILE
	inside "$1" mosquitto_sub -h 127.0.0.1 -p 8883 --cafile "$W/keys/ca.crt" --cert "$W/keys/$1.crt" --key "$W/keys/$1.key" \
		-i "listener-$1" -q 1 -t 'sites/#' -F '%U %t %p' >> "$2" 2>> "$W/$1/log/listener" &
}

ground_up() {
	ip link add gw type bridge
	ip address add "$bridge/24" dev gw
	ip link set gw up
	broker cloud $cloud
	boot cloud $cloud mosquitto -c "$W/cloud/broker.conf"
	wan_table
	eventually 30 "the cloud's broker" inside cloud bash -c 'exec 3<>/dev/tcp/127.0.0.1/8883'
	listen cloud "$W/cloud.log"
}

registry_up() {
	cat > "$W/registry.yml" << REGISTRY
version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: $W/registry}}
http: {addr: "$REGISTRY"}
REGISTRY
	docker-registry serve "$W/registry.yml" > "$W/registry.log" 2>&1 &
}

# Starts a process tree in namespaces of its own, and gives it an end of a cable to the bridge.
boot() { # NAME ADDRESS COMMAND...
	local name=$1 address=$2
	shift 2
	unshare --fork --pid --mount --mount-proc --uts --net --kill-child=KILL -- tini -s -- "$@" 2>> "$W/$name/log/init" &
	unshare_of[$name]=$!
	until pid_of[$name]=$(pgrep -P "${unshare_of[$name]}" -x tini); do
		kill -0 "${unshare_of[$name]}" || fail "$name did not start"
		sleep 0.02
	done
	ip link add "br-$name" type veth peer name eth0 netns "${pid_of[$name]}"
	ip link set "br-$name" master gw up
	nsenter -t "${pid_of[$name]}" -n ip -batch - << BATCH
link set lo up
address add $address/24 dev eth0
link set eth0 up
route add default via $bridge
BATCH
}

site_up() { # SITE
	broker "$1" "$(address_of "$1")"
	boot "$1" "$(address_of "$1")" "$here/site-init.sh" "$1" "$(address_of "$1")" "$W/$1"
	eventually 60 "the broker of $1" inside "$1" bash -c 'exec 3<>/dev/tcp/127.0.0.1/8883'
	listen "$1" "$W/$1.log"
}

# The power of a site fails: its link goes first, so that no peer sees a connection end. Then everything in it is killed at
# once, and what a boot clears is gone: mounts, /run, cgroups. Its disk stays.
power_cut() { # SITE
	local at
	ip link delete "br-$1"
	kill -KILL "${pid_of[$1]}"
	wait "${unshare_of[$1]}" 2> /dev/null || true
	for at in /sys/fs/cgroup /sys/fs/cgroup/*; do
		[ ! -d "$at/$1" ] || find "$at/$1" -depth -type d -exec rmdir {} +
	done
}

# The WAN is a table of the bridge: it drops packets between the cloud and a site, on their way, so that neither end notices.
# A cable that is pulled cuts a site from its manager and the registry too.
wan_table() {
	nft -f - << TABLE
table bridge wan {
	set cut { type ipv4_addr; }
	set lossy { type ipv4_addr; }
	chain forward {
		type filter hook forward priority 0;
		oifname "br-cloud" ip saddr @cut drop
		iifname "br-cloud" ip daddr @cut drop
		oifname "br-cloud" ip saddr @lossy numgen random mod 100 < 30 counter drop
		iifname "br-cloud" ip daddr @lossy numgen random mod 100 < 30 counter drop
	}
}
TABLE
}
wan() { nft "$1" element bridge wan "$2" "{ $(address_of "$3") }"; } # add|delete cut|lossy SITE
cable() { ip link set "br-$1" "$2"; }                                # SITE up|down
