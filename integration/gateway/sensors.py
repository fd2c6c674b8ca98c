#!/usr/bin/env python3
"""Stands for the hardware of a site: a serial sensor that sends a value ten times a second, and an actuator. Both are ptys.

usage: sensors.py SITE DIR      DIR/sensor and DIR/actuator become links to the ptys
"""
import math
import os
import select
import sys
import time

from parts import Pty


def pty(path):
    """A pty with a link to its device."""
    made = Pty()
    os.chmod(made.path, 0o666)
    os.symlink(made.path, path)
    os.set_blocking(made.master, False)
    return made


def main():
    directory = sys.argv[2]
    os.makedirs(directory)
    sensor, actuator = (pty(os.path.join(directory, name)) for name in ("sensor", "actuator"))
    began = due = time.monotonic()
    while True:
        due += 0.1
        while (wait := due - time.monotonic()) > 0:
            if select.select([actuator.master], [], [], wait)[0]:
                print("actuator", os.read(actuator.master, 4096).decode(errors="replace").split(), flush=True)
        value = 20 + 5 * math.sin((due - began) / 30)
        try:
            os.write(sensor.master, f"{value:.3f}\n".encode())
        except BlockingIOError:
            # Nobody reads: a real line loses the value too.
            pass


main()
