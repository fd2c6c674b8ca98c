#!/bin/bash
# The run of swarm.sh, inside its cell.
# usage: swarm-run.sh short|whole
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=integration/gateway/sites.sh
. "$here/sites.sh"
# shellcheck source=integration/gateway/services.sh
. "$here/services.sh"
# shellcheck source=integration/gateway/checks.sh
. "$here/checks.sh"

swarm_up() {
	local site token
	authority cloud "${sites[@]}"
	ground_up
	registry_up
	for site in "${sites[@]}"; do
		prepare "$site"
		site_up "$site"
	done
	for site in "${sites[@]}"; do eventually 60 "docker at $site" docker_at "$site" version; done
	docker_at site1 swarm init --advertise-addr "$(address_of site1)" > /dev/null
	# A manager that hears nothing from a site for three heartbeats replaces all its services. Links to sites fail more often
	# than that, so the heartbeat is long.
	docker_at site1 swarm update --dispatcher-heartbeat 60s > /dev/null
	token=$(docker_at site1 swarm join-token -q worker)
	for site in site2 site3; do
		docker_at "$site" swarm join --advertise-addr "$(address_of "$site")" --token "$token" "$(address_of site1):2377" > /dev/null
	done
}

[ -z "${KEEP:-}" ] || trap 'mkdir -p "$KEEP"; cp -r "$W/events" "$W"/*.log "$KEEP"' EXIT
swarm_up
say "three sites are a Swarm"
images
say "images are in the registry"
create_all
eventually 120 "all services at all sites" all_run "${sites[@]}"
say "five services run at three sites"
for site in "${sites[@]}"; do eventually 60 "readings of $site in the cloud" reached "$site" "$EPOCHREALTIME"; done
say "readings of all sites reach the cloud"

firmware_is_installed "${sites[*]}" /run/slots
update_leaves_others
bad_version_rolls_back
[ "$1" = short ] || cut_off_site_is_updated
update_of_uplink
wan_is_cut 1
power_fails
# The drawing shows some time after the power cut.
eventually 60 "readings of site3" reached site3 "$(awk -v now="$EPOCHREALTIME" 'BEGIN { printf "%.6f", now + 8 }')"
event end plot all
[ "$1" = short ] || wan_is_cut $((CUTS - 1))
for site in "${sites[@]}"; do arrived "$site"; done
if [ -n "${PLOT:-}" ]; then
	"$here/plot.py" "$W/cloud.log" "$W/events" "$W"/site?.log > "$PLOT"
	say "drawn: $PLOT"
fi
say "sites: ok"
