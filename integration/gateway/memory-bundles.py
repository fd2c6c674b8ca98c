#!/usr/bin/env python3
"""Writes the bundles of memory-checks.sh: each role's own configuration, with a sleeping busybox as its program.

usage: memory-bundles.py EMBRUN ROOTFS OUT
"""
import pathlib
import sys

from bundles import ROLES, Bundle


def main():
    embrun, rootfs, out = sys.argv[1:]
    for role in ROLES:
        folder = pathlib.Path(out, role)
        folder.mkdir(parents=True)
        bundle = Bundle(embrun, folder, role)
        bundle.config["process"]["args"] = ["sleep", "100000"]
        bundle.config["root"]["path"] = rootfs
        # The guest does not have the directories of a gateway.
        bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] != "bind"]
        bundle.write()


main()
