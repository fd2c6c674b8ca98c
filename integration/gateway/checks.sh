#!/bin/bash
# Sourced: the events of the run, and what must hold during and after them.
# needs: sites.sh, services.sh; env: CUT_SECONDS, LOSSY_SECONDS, OFF_SECONDS

CUT_SECONDS=${CUT_SECONDS:-60} LOSSY_SECONDS=${LOSSY_SECONDS:-30} OFF_SECONDS=${OFF_SECONDS:-10}
declare -A power_of

# Readings of a site have come to the cloud after a time.
reached() { # SITE TIME
	awk -v topic="sites/$1/readings" -v from="$2" '$2 == topic && $1 > from { n++ } END { exit !n }' "$W/cloud.log"
}
# How many messages an uplink may have sent again: each new connection repeats up to 100 without an acknowledgement (link.rs).
repeatable() { # SITE
	awk -v client="as $1-uplink " '/New client connected/ && index($0, client) { n++ } END { print 100 * (n > 0 ? n - 1 : 0) }' "$W/cloud/log/init"
}
# All readings that a site's broker has had until now are in the cloud, in order, and few of them twice.
compare() { # SITE TIME
	# shellcheck disable=SC2086  # words on purpose
	"$here/ids.py" "$W/$1.log" "$W/cloud.log" "$1" --before "$2" --repeated "$(repeatable "$1")" ${power_of[$1]:-}
}
arrived() { # SITE
	eventually 300 "all readings of $1 are in the cloud" compare "$1" "$EPOCHREALTIME"
	say "$(cat "$W/last"); at most $(repeatable "$1") may be sent again"
}
# The longest time without a message of a topic, in seconds.
silence() { # FILE TOPIC FROM TO
	awk -v topic="$2" -v from="$3" -v to="$4" 'BEGIN { last = from }
		$2 == topic && $1 > from && $1 < to { if ($1 - last > most) most = $1 - last; last = $1 }
		END { if (to - last > most) most = to - last; printf "%.2f", most }' "$1"
}
flows() { # FILE TOPIC FROM TO
	local most
	most=$(silence "$@")
	awk -v s="$most" -v so_far="$longest" 'BEGIN { exit !(s > so_far) }' && longest=$most
	awk -v s="$most" 'BEGIN { exit !(s < 3) }' || fail "no message of $2 for $most s"
}

# Remembers the processes of all services but one, and checks later that they are the same ones and that they kept working.
others_before() { # SERVICE
	local site
	from=$EPOCHREALTIME
	for site in "${sites[@]}"; do
		running "$site" | grep -v "^$1 " > "$W/before.$site"
		[ "$(wc -l < "$W/before.$site")" = 4 ] || fail "not all run at $site: $(cat "$W/before.$site")"
	done
}
others_untouched() { # SERVICE
	local site service to=$EPOCHREALTIME longest=0
	for site in "${sites[@]}"; do
		running "$site" | grep -v "^$1 " | diff "$W/before.$site" - ||
			fail "the update of $1 touched another service at $site"
		for service in "${services[@]}"; do
			[ "$service" = "$1" ] || [ "$service" = firmware-updater ] ||
				flows "$W/$site.log" "sites/$site/health/$service" "$from" "$to"
		done
		flows "$W/$site.log" "sites/$site/readings" "$from" "$to"
	done
	say "the other four services: same containers, pids and start times; the longest silence of one: $longest s"
}
change() { # SERVICE VERSION
	docker_at site1 service update --quiet --detach --image "$REGISTRY/$1:$2" "$1" > /dev/null
}

update_leaves_others() {
	others_before data-processor
	event begin update all
	change data-processor 2
	eventually 120 "data-processor is updated" has_version data-processor 2 "${sites[@]}"
	say "data-processor is updated at all sites: $(since "$from") s"
	eventually 120 "the update is complete" update_ended data-processor completed
	event end update all
	others_untouched data-processor
}

bad_version_rolls_back() {
	others_before data-processor
	event begin bad all
	change data-processor 3
	eventually 120 "the bad version is rolled back" update_ended data-processor rollback_completed
	eventually 60 "the old version runs again" has_version data-processor 2 "${sites[@]}"
	event end bad all
	docker_at site1 service ps data-processor --format '{{.Image}} {{.CurrentState}}' > "$W/last"
	grep -q ':3 Failed' "$W/last" || fail "the bad version has not run"
	say "a bad version of data-processor is rolled back at all sites: $(since "$from") s"
	others_untouched data-processor
}

cut_off_site_is_updated() {
	local back
	others_before data-processor
	event begin cable site3
	cable site3 down
	change data-processor 1
	eventually 60 "the other sites are updated" has_version data-processor 1 site1 site2
	sleep "$CUT_SECONDS"
	has_version data-processor 2 site3 || fail "site3 has version $(version_at site3 data-processor)"
	cable site3 up
	event end cable site3
	back=$EPOCHREALTIME
	eventually 300 "the site that was cut off is updated" has_version data-processor 1 site3
	say "site3 was cut off during an update for $CUT_SECONDS s, and has it $(since "$back") s after it is back"
	eventually 120 "the update is complete" update_ended data-processor completed
	others_untouched data-processor
}

# The uplink's own update interrupts what the cloud sees, and loses nothing.
update_of_uplink() {
	local site
	others_before uplink
	event begin uplink all
	change uplink 2
	eventually 120 "uplink is updated" has_version uplink 2 "${sites[@]}"
	eventually 120 "the update is complete" update_ended uplink completed
	event end uplink all
	others_untouched uplink
	for site in "${sites[@]}"; do arrived "$site"; done
}

# An update reaches the loop devices of all sites given, and is confirmed.
firmware_is_installed() { # "SITE..." SLOTS: the folder of the slots at each site
	local site
	head -c 300K /dev/urandom > "$W/firmware.bin"
	inside cloud env SITES="$1" BROKER=127.0.0.1:8883 CA="$W/keys/ca.crt" CERT="$W/keys/cloud.crt" KEY="$W/keys/cloud.key" \
		"$TOOL" firmware "$W/keys/firmware.key" 1 "$W/firmware.bin" > "$W/last" 2>&1 || fail "the firmware is not published"
	for site in $1; do
		eventually 120 "the firmware is confirmed" grep -q "sites/$site/firmware/status .*\"confirmed\"" "$W/cloud.log"
		slots_hold_it "$site" "$2"
	done
	say "firmware is installed on the loop devices of $1, and confirmed"
}
slots_hold_it() { # SITE SLOTS
	inside "$1" "$TOOL" slots "$2/a" "$2/b" > "$W/last" 2>&1 || fail "the slots of $1 cannot be read"
	grep -q '"version":1,"standing":"Confirmed","whole":true,"active":true' "$W/last" || fail "no confirmed version at $1"
}

dropped() { nft list table bridge wan | awk '/numgen/ { n += $(NF - 3) } END { print n + 0 }'; }

wan_is_cut() { # TIMES
	local i cut came longest=0 first=$EPOCHREALTIME
	for ((i = 1; i <= $1; i++)); do
		event begin wan site2
		wan add cut site2
		cut=$EPOCHREALTIME
		sleep "$CUT_SECONDS"
		came=$(awk -v from="$cut" '$1 > from + 1 && $2 == "sites/site2/readings"' "$W/cloud.log" | wc -l)
		[ "$came" = 0 ] || fail "$came readings came through the cut"
		wan add lossy site2
		wan delete cut site2
		event end wan site2
		event begin lossy site2
		eventually 300 "readings of site2 arrive although 30% of packets are lost" reached site2 "$EPOCHREALTIME"
		say "cut $i of $1: readings again $(since "$(tail -n 1 "$W/events" | cut -d' ' -f1)") s after $CUT_SECONDS s without WAN"
		sleep "$LOSSY_SECONDS"
		wan delete lossy site2
		event end lossy site2
	done
	[ "$(dropped)" -gt 0 ] || fail "no packet was dropped"
	say "$(dropped) packets were dropped"
	flows "$W/site2.log" sites/site2/readings "$first" "$EPOCHREALTIME"
	say "the longest silence of site2's sensor meanwhile: $longest s"
	arrived site2
}

power_fails() {
	local cut boot
	event begin power site3
	cut=$EPOCHREALTIME
	power_cut site3
	cp -r "$W/site3/data/volumes/queue/_data" "$W/queue.site3"
	power_of[site3]="--cut $cut --queue $W/queue.site3"
	sleep "$OFF_SECONDS"
	boot=$EPOCHREALTIME
	site_up site3
	eventually 120 "readings of site3 after the power cut" reached site3 "$boot"
	event end power site3
	say "site3 has power again: its first reading is in the cloud after $(since "$boot") s"
	eventually 120 "all services of site3 run again" all_run site3
	slots_hold_it site3 /run/slots
	arrived site3
}
