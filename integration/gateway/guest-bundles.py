#!/usr/bin/env python3
"""Writes the bundles of a site for a guest: `embrun spec --role`, and what is specific to the site.

usage: guest-bundles.py EMBRUN SRV SITE CLOUD KIND
SRV/NAME/rootfs is there; CLOUD is HOST:PORT of the cloud's broker; KIND names the guest's devices: uml or arm.
"""

import json
import pathlib
import subprocess
import sys

# Path, type, major, minor, access. The kernel chooses the major number of sensor0; gateway-boot.sh replaces SENSOR by it.
SENSOR = 4242
DEVICES = {
    "uml": {
        "data-collector": [
            ("/dev/ttyS1", "c", 4, 65, "r"),
            ("/dev/i2c-0", "c", 89, 0, "r"),
            ("/dev/sensor0", "c", SENSOR, 0, "r"),
        ],
        "device-controller": [("/dev/ttyS2", "c", 4, 66, "rw")],
    },
    "arm": {
        "data-collector": [("/dev/gpiochip0", "c", 254, 0, "r"), ("/dev/sensor0", "c", SENSOR, 0, "r")],
        "device-controller": [("/dev/gpiochip0", "c", 254, 0, "rw")],
    },
}
SLOTS = [("/dev/slot-a", "b", 7, 0, "rw"), ("/dev/slot-b", "b", 7, 1, "rw")]
SENSORS = {
    "uml": ["SERIAL=/dev/ttyS1", "I2C=/dev/i2c-0", "RAW=/dev/sensor0"],
    "arm": ["GPIO=/dev/gpiochip0", "GPIO_LINE=2", "RAW=/dev/sensor0"],
}
ACTUATORS = {"uml": ["ACTUATOR=/dev/ttyS2"], "arm": ["ACTUATOR=/dev/gpiochip0", "ACTUATOR_LINE=4"]}


def environment(name, site, cloud, kind):
    """The settings of a service."""
    keys = ["CA=/etc/gateway/ca.crt", "CERT=/etc/gateway/client.crt", "KEY=/etc/gateway/client.key"]
    return [f"SITE={site}", "BROKER=unix:/run/gateway/mqtt.sock"] + {
        "data-collector": SENSORS[kind],
        "data-processor": ["HIGH=500"],
        "uplink": [f"CLOUD={cloud}", "VERBOSE=1"] + keys,
        "device-controller": ACTUATORS[kind] + ["ON_ALARM=1"],
        "firmware-updater": [f"CLOUD={cloud}", "SLOT_A=/dev/slot-a", "SLOT_B=/dev/slot-b", "CONFIRM_MS=120000"] + keys,
    }[name]


def bundle(embrun, path, site, cloud, kind):
    """Writes the configuration of one service."""
    name = path.name
    subprocess.run([embrun, "spec", "--bundle", path, "--role", name], check=True)
    config = json.loads((path / "config.json").read_text())
    config["process"]["env"] += environment(name, site, cloud, kind)
    # The start of the guest copies the configuration to /run, to fill in a device number.
    config["root"]["path"] = f"/srv/{name}/rootfs"
    linux = config["linux"]
    linux["cgroupsPath"] = f"/gateway/{name}"
    found = DEVICES[kind].get(name, []) + (SLOTS if name == "firmware-updater" else [])
    linux["devices"] = [
        {"path": p, "type": t, "major": major, "minor": minor, "fileMode": 0o660, "uid": 1000, "gid": 1000}
        for p, t, major, minor, _ in found
    ]
    linux["resources"]["devices"] = [{"allow": False, "access": "rwm"}] + [
        {"allow": True, "type": t, "major": major, "minor": minor, "access": access}
        for _, t, major, minor, access in found
    ]
    if name in ("uplink", "firmware-updater"):
        config["mounts"].append(
            {"destination": "/etc/gateway", "type": "bind", "source": "/etc/gateway/client", "options": ["bind", "ro"]}
        )
    (path / "config.json").write_text(json.dumps(config, indent=2))
    (path / "service").write_text("RESTART=always\n")


def main():
    embrun, srv, site, cloud, kind = sys.argv[1:]
    for path in sorted(pathlib.Path(srv).iterdir()):
        bundle(embrun, path, site, cloud, kind)


main()
