#!/bin/bash
# Sourced: the firmware's slots as loop devices. The shell that calls it keeps them open, and they are detached with its last process.
# usage: slots_up DIR OUT      DIR has the files a and b; OUT gets a node for each, which only the services' user may open
slots_up() {
	local slot loop kept
	mkdir -p "$2"
	for slot in a b; do
		loop=$(losetup --find --show "$1/$slot")
		# shellcheck disable=SC2034  # it only has to stay open
		exec {kept}<> "$loop"
		losetup --detach "$loop"
		mknod -m 600 "$2/$slot" b $((16#$(stat -c %t "$loop"))) $((16#$(stat -c %T "$loop")))
		chown 1000:1000 "$2/$slot"
	done
}
