#!/bin/bash
# Writes a systemd unit for each bundle of a site: the service reports its readiness and feeds the watchdog through embrun.
# usage: integration/gateway/guest-units.sh BUNDLES OUT EMBRUN
set -euo pipefail
bundles=$1 out=$2 embrun=$3
for bundle in "$bundles"/*; do
	name=${bundle##*/}
	cat > "$out/$name.service" << UNIT
[Unit]
Description=Gateway service $name
After=gateway-broker.service
Wants=gateway-broker.service

[Service]
Type=notify
NotifyAccess=main
ExecStartPre=-$embrun delete --force $name
ExecStart=$embrun run --bundle $bundle $name
ExecStopPost=-$embrun delete --force $name
KillMode=mixed
TimeoutStartSec=120
TimeoutStopSec=10
WatchdogSec=20
Restart=always
RestartSec=1
Delegate=yes

[Install]
WantedBy=multi-user.target
UNIT
done
