#!/usr/bin/env python3
"""Writes the bundles of memory-checks.sh: each role's own configuration, with a sleeping busybox as its program.

usage: memory-bundles.py EMBRUN ROOTFS OUT
"""

import json
import pathlib
import subprocess
import sys

from bundles import ROLES


def main():
    embrun, rootfs, out = sys.argv[1:]
    for role in ROLES:
        bundle = pathlib.Path(out, role)
        bundle.mkdir(parents=True)
        subprocess.run([embrun, "spec", "--bundle", bundle, "--role", role], check=True)
        path = bundle / "config.json"
        config = json.loads(path.read_text())
        config["process"]["args"] = ["sleep", "100000"]
        config["root"]["path"] = rootfs
        # The guest has neither the hardware nor the directories of a gateway.
        config["mounts"] = [m for m in config["mounts"] if m["type"] != "bind"]
        config["linux"]["devices"] = []
        path.write_text(json.dumps(config))


main()
