#!/bin/bash
# One site with podman: `podman kube play` with embrun as the runtime, from the files in pods.
# usage: integration/gateway/podman.sh EMBRUN
set -euo pipefail
here=$(dirname "$(realpath "$0")")
EMBRUN=$(realpath "$1")
"$here/../needs.sh" build test engines gateway
IMAGES=${XDG_CACHE_HOME:-$HOME/.cache}/embrun/gateway/guest-images/host
"$here/../../rootfs-fixtures/gateway/build.sh" host "$IMAGES"
export EMBRUN IMAGES TOOL=$IMAGES/gateway-tool
exec "$here/cell.sh" "$here/podman-run.sh"
