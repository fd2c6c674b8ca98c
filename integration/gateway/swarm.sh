#!/bin/bash
# Three sites with docker Swarm on this machine: updates, cut links and a power cut, with embrun as the runtime of each dockerd.
# usage: integration/gateway/swarm.sh short|whole EMBRUN
# env: CUTS and CUT_SECONDS, how often and how long the WAN is cut; PLOT, the file for the drawing;
#   KEEP, a directory for the logs of the messages
set -euo pipefail
here=$(dirname "$(realpath "$0")")
form=$1
EMBRUN=$(realpath "$2")
case $form in
short) : "${CUTS:=1}" "${CUT_SECONDS:=20}" "${LOSSY_SECONDS:=10}" ;;
whole) : "${CUTS:=10}" "${CUT_SECONDS:=60}" "${LOSSY_SECONDS:=20}" ;;
*) exit 2 ;;
esac
"$here/../needs.sh" build test engines gateway
IMAGES=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/gateway/guest-images/host
"$here/../../rootfs-fixtures/gateway/build.sh" host "$IMAGES"
PATH=$("$here/tools.sh"):$PATH
export PATH EMBRUN IMAGES CUTS CUT_SECONDS LOSSY_SECONDS TOOL=$IMAGES/gateway-tool REGISTRY=10.77.0.1:5000
[ -z "${PLOT:-}" ] || PLOT=$(realpath "$PLOT")
[ -z "${KEEP:-}" ] || KEEP=$(realpath "$KEEP")
exec "$here/cell.sh" "$here/swarm-run.sh" "$form"
