#!/usr/bin/env python3
"""Writes the bundles of a site for a guest, whose devices are known by number only.

usage: guest-bundles.py EMBRUN SRV SITE CLOUD KIND
SRV/NAME/rootfs is there; CLOUD is HOST:PORT of the cloud's broker; KIND names the guest's devices: uml or arm.
"""
import pathlib
import sys

from bundles import Bundle

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
    "uml": {"SERIAL": "/dev/ttyS1", "I2C": "/dev/i2c-0", "RAW": "/dev/sensor0"},
    "arm": {"GPIO": "/dev/gpiochip0", "GPIO_LINE": 2, "RAW": "/dev/sensor0"},
}
ACTUATORS = {"uml": {"ACTUATOR": "/dev/ttyS2"}, "arm": {"ACTUATOR": "/dev/gpiochip0", "ACTUATOR_LINE": 4}}


def environment(role, kind):
    """The settings of a service."""
    return {
        "data-collector": SENSORS[kind],
        "data-processor": {"HIGH": 500},
        "uplink": {"VERBOSE": 1},
        "device-controller": {**ACTUATORS[kind], "ON_ALARM": 1},
        "firmware-updater": {"SLOT_A": "/dev/slot-a", "SLOT_B": "/dev/slot-b", "CONFIRM_MS": 120000},
    }[role]


def add_device(bundle, path, kind, major, minor, access):
    number = {"type": kind, "major": major, "minor": minor}
    linux = bundle.config["linux"]
    linux.setdefault("devices", []).append({"path": path, **number, "fileMode": 0o600, "uid": bundle.uid, "gid": bundle.uid})
    linux["resources"]["devices"].append({"allow": True, "access": access, **number})


def make(embrun, path, site, cloud, kind):
    """Writes the bundle of one service. All services of a guest share the broker's socket and the user of its files."""
    role = path.name
    bundle = Bundle(embrun, path, role, user="1000:1000")
    bundle.env(SITE=site, **environment(role, kind))
    bundle.mount("/run/gateway")["source"] = "/run/gateway"
    # The start of the guest copies the configuration to /run, to fill in a device number.
    bundle.config["root"]["path"] = f"/srv/{role}/rootfs"
    bundle.config["linux"]["cgroupsPath"] = f"/gateway/{role}"
    for device in DEVICES[kind].get(role, []) + (SLOTS if role == "firmware-updater" else []):
        add_device(bundle, *device)
    if role in ("uplink", "firmware-updater"):
        bundle.cloud(cloud, "/etc/gateway", "client")
        bundle.config["mounts"].append(
            {"destination": "/etc/gateway", "type": "bind", "source": "/etc/gateway/client", "options": ["bind", "ro"]}
        )
    bundle.write()
    (path / "service").write_text("RESTART=always\n")


def main():
    embrun, srv, site, cloud, kind = sys.argv[1:]
    for path in sorted(pathlib.Path(srv).iterdir()):
        make(embrun, path, site, cloud, kind)


main()
