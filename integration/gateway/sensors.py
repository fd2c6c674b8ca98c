#!/usr/bin/env python3
"""Stands for the hardware of a site: a serial sensor that sends a value ten times a second, and an actuator. Both are ptys.

usage: sensors.py SITE DIR      DIR/sensor and DIR/actuator become links to the ptys
"""
import math
import os
import select
import sys
import time
import tty


def pty(path):
    """A pty in raw mode; its other end stays open, so that it survives a service that closes it."""
    controller, device = os.openpty()
    tty.setraw(device)
    os.chmod(os.ttyname(device), 0o666)
    os.symlink(os.ttyname(device), path)
    os.set_blocking(controller, False)
    return controller, device


def main():
    directory = sys.argv[2]
    os.makedirs(directory)
    sensor, _ = pty(os.path.join(directory, "sensor"))
    actuator, _ = pty(os.path.join(directory, "actuator"))
    began = due = time.monotonic()
    while True:
        due += 0.1
        while (wait := due - time.monotonic()) > 0:
            if select.select([actuator], [], [], wait)[0]:
                print("actuator", os.read(actuator, 4096).decode(errors="replace").split(), flush=True)
        value = 20 + 5 * math.sin((due - began) / 30)
        try:
            os.write(sensor, f"{value:.3f}\n".encode())
        except BlockingIOError:
            # Nobody reads: a real line loses the value too.
            pass


main()
