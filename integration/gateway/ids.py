#!/usr/bin/env python3
"""Compares the readings that reached the cloud with those that a site's broker had. Exits with 1 if one is missing,
and with 3 if one is late or too many came again, which waiting does not change.

usage: ids.py SITE-LOG CLOUD-LOG SITE [--before TIME] [--queue DIR] [--cut TIME]... [--repeated COUNT]

A log has lines `TIME TOPIC PAYLOAD`. A consumer keeps the highest id and ignores a message whose id is not higher, so the ids are
counted in that way. With --before, only readings from before that time must have arrived. --queue adds the ids in the files of an
uplink's queue, because the uplink has acknowledged them. Each --cut is the time of a power cut: readings of the second before it were
still on their way to the uplink, and count only if its queue has them. Readings from before the uplink's first subscription do not
count. With --repeated, it also fails if more readings came again.
"""
import argparse
import json
import os
import re
import sys


def readings(path, site):
    """Time and id of each reading, in the order of arrival. A line that a power cut tore is ignored."""
    topic = f"sites/{site}/readings"
    found = []
    with open(path, errors="replace") as log:
        for line in log:
            parts = line.split(" ", 2)
            if len(parts) == 3 and parts[1] == topic:
                try:
                    found.append((float(parts[0]), json.loads(parts[2])["id"]))
                except ValueError:
                    pass
    return found


def queued(directory, site):
    """The ids in the files of a queue, whose records hold topic and payload as text."""
    found = set()
    wanted = re.compile(rb"sites/%s/readings\{\"id\":(\d+)," % site.encode())
    for name in os.listdir(directory):
        if name.endswith(".log"):
            with open(os.path.join(directory, name), "rb") as part:
                found.update(int(i) for i in wanted.findall(part.read()))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("log")
    parser.add_argument("cloud")
    parser.add_argument("site")
    parser.add_argument("--before", type=float, default=float("inf"))
    parser.add_argument("--queue", action="append", default=[])
    parser.add_argument("--cut", type=float, action="append", default=[])
    parser.add_argument("--repeated", type=int)
    args = parser.parse_args()

    arrived, highest, repeated, disordered = set(), -1, 0, 0
    for _, number in readings(args.cloud, args.site):
        if number in arrived:
            repeated += 1
        elif number < highest:
            disordered += 1
        arrived.add(number)
        highest = max(highest, number)
    expected, waiting, first = set(), 0, min(arrived, default=0)
    for time, number in readings(args.log, args.site):
        if any(cut - 1 < time <= cut for cut in args.cut):
            waiting += number not in arrived
        elif time < args.before and number >= first:
            expected.add(number)
    for directory in args.queue:
        expected |= queued(directory, args.site)
    lost = sorted(expected - arrived)
    print(f"{args.site}: {len(expected)} readings acknowledged, {len(arrived)} in the cloud, {len(lost)} lost, "
          f"{disordered} out of order, {repeated} sent again and recognised, {waiting} not yet acknowledged at a power cut")
    if lost:
        print(f"{args.site}: the first lost: {lost[:5]}")
    many = args.repeated is not None and repeated > args.repeated
    if many:
        print(f"{args.site}: at most {args.repeated} may be sent again")
    sys.exit(3 if disordered or many else 1 if lost or not expected else 0)


main()
