#!/bin/bash
# Runs a site as systemd units of Type=notify with a watchdog, in the guest that systemd runs (systemd-checks.sh). The units run embrun
# alone, or podman with embrun (quadlet).
# usage: integration/gateway/systemd.sh units|quadlet      env: see guest-parts.sh
set -euo pipefail
own=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$own/../.." && pwd)
"$top/integration/needs.sh" build gateway guests
box=$(mktemp -d "${TMPDIR:-/var/tmp}/gateway-systemd.XXXXXX")
trap 'rm -rf "$box"' EXIT
"$own/guest-parts.sh" host "$box" 127.0.0.1
"$own/guest-root.sh" amd64 "$("$top/integration/static.sh")" "$box/images" "$box" "$box/root" a 127.0.0.1:8883
cp "$box/sensor" "$box/root/usr/bin/"
mkdir "$box/root/etc/gateway/cloud"
cp "$box"/{ca.crt,cloud.crt,cloud.key,client.crt,client.key} "$box/root/etc/gateway/cloud/"
"$own/guest-modules.sh" "$("$top/integration/guest/uml-kernel.sh")" "$box/root/mods"
cp -r "$own"/{systemd-checks,guest-units,guest-quadlets}.sh "$own/quadlet" "$box/"
cp -r "$top/seccomp-profiles" "$box/seccomp"
cd "$box"
"$top/integration/guest/systemd.sh" --memory 512M --limit "${LIMIT:-600}" --append "ssl1=null ssl2=null" -- "$box/systemd-checks.sh" "$box/root" "${1:-units}"
