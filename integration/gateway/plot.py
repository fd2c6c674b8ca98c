#!/usr/bin/env python3
"""Draws docs/gateway.svg: the messages per second that the cloud got from each site, with the events of the run.

usage: plot.py CLOUD-LOG EVENTS SITE-LOG... > FILE.svg

CLOUD-LOG and each SITE-LOG, named SITE.log, have lines `TIME TOPIC PAYLOAD`; EVENTS has lines `TIME begin|end KIND SITE`. The
drawing ends where the event `plot` ends.
"""
import math
import os
import sys

WIDTH, LEFT, RIGHT, TOP, HEIGHT, GAP = 960, 64, 16, 62, 132, 30
KINDS = {
    "update": ("#56b4e9", "update of data-processor"),
    "uplink": ("#0072b2", "update of uplink"),
    "bad": ("#cc79a7", "bad version, rolled back"),
    "wan": ("#e69f00", "WAN cut"),
    "lossy": ("#f0e442", "30% of packets lost"),
    "cable": ("#999999", "site cut off from everything"),
    "power": ("#d55e00", "power cut"),
}
TICKS = (0, 1, 10, 100, 1000)


def arrivals(path, only=None):
    """Counts messages per site and second."""
    counts = {}
    with open(path, errors="replace") as log:
        for line in log:
            parts = line.split(" ", 2)
            topic = parts[1].split("/") if len(parts) == 3 else []
            if len(topic) >= 3 and topic[0] == "sites" and (only is None or topic[2] == only):
                site = counts.setdefault(topic[1], {})
                second = int(float(parts[0]))
                site[second] = site.get(second, 0) + 1
    return counts


def spans(path):
    """The events as (kind, site, begin, end), and the end of the drawing."""
    begun, found, last = {}, [], float("inf")
    with open(path) as log:
        for line in log:
            time, edge, kind, site = line.split()
            if kind == "plot":
                last = float(time)
            elif edge == "begin":
                begun[kind, site] = float(time)
            else:
                found.append((kind, site, begun.pop((kind, site)), float(time)))
    return [span for span in found if span[3] <= last], last


class Plot:
    def __init__(self, cloud, local, events, last):
        self.cloud, self.local, self.events = cloud, local, events
        self.sites = sorted(local)
        seconds = [s for counts in cloud.values() for s in counts if s < last]
        self.first, self.last = min(seconds), max(seconds)
        self.top = max(n for counts in cloud.values() for s, n in counts.items() if s < last)
        self.out = []

    def x(self, time):
        share = (time - self.first) / (self.last + 1 - self.first)
        return LEFT + min(max(share, 0), 1) * (WIDTH - LEFT - RIGHT)

    def y(self, panel, count):
        """A logarithmic axis that shows zero."""
        base = TOP + panel * (HEIGHT + GAP) + HEIGHT
        return base - HEIGHT * math.log10(1 + count) / math.log10(1 + self.top * 1.2)

    def add(self, name, text=None, **attributes):
        words = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in attributes.items())
        self.out.append(f"<{name}{words}/>" if text is None else f"<{name}{words}>{text}</{name}>")

    def bar(self, x, y, width, height, **more):
        self.add("rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{width:.1f}", height=f"{height:.1f}", **more)

    def panel(self, number, site):
        top, base = self.y(number, self.top * 1.2), self.y(number, 0)
        for kind, where, begin, end in self.events:
            if where in (site, "all"):
                width = max(self.x(end) - self.x(begin), 2)
                self.bar(self.x(begin), top, width, base - top, fill=KINDS[kind][0], opacity="0.28")
        for tick in TICKS:
            if tick <= self.top:
                y = self.y(number, tick)
                self.add("line", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{y:.1f}", y2=f"{y:.1f}", stroke="#dddddd")
                self.add("text", tick, x=LEFT - 6, y=f"{y + 4:.1f}", text_anchor="end")
        bars = []
        for second in range(self.first, self.last + 1):
            if count := self.cloud.get(site, {}).get(second, 0):
                x, y = self.x(second), self.y(number, count)
                bars.append(f"M{x:.1f} {base:.0f}V{y:.1f}H{self.x(second + 0.9):.1f}V{base:.0f}")
        self.add("path", d="".join(bars), fill="#333333")
        line = []
        for second in range(self.first, self.last):
            count = self.local[site].get(second, 0)
            line.append(f"{self.x(second + 0.5):.1f},{self.y(number, count):.1f}")
        self.add("polyline", points=" ".join(line), fill="none", stroke="#009e73", stroke_width="1.5")
        self.add("text", site, x=LEFT, y=f"{top - 6:.1f}", font_weight="bold")

    def legend(self):
        self.add("text", "messages per second", x=LEFT, y=18, font_weight="bold")
        x, shown = LEFT + 160, {kind for kind, *_ in self.events}
        items = [("#333333", "1", "at the cloud"), ("#009e73", "1", "readings at the site's broker")]
        items += [(colour, "0.28", text) for kind, (colour, text) in KINDS.items() if kind in shown]
        y = 18
        for colour, opacity, text in items:
            if x + 20 + 6.6 * len(text) > WIDTH - RIGHT:
                x, y = LEFT + 160, y + 18
            self.bar(x, y - 9, 12, 10, fill=colour, opacity=opacity)
            self.add("text", text, x=x + 16, y=y)
            x += 30 + int(6.6 * len(text))

    def draw(self):
        height = TOP + len(self.sites) * (HEIGHT + GAP) + 10
        self.out.append(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
                        'font-size="12">')
        self.add("rect", width=WIDTH, height=height, fill="#ffffff")
        self.legend()
        for number, site in enumerate(self.sites):
            self.panel(number, site)
        length = self.last - self.first
        step = next(s for s in (10, 20, 30, 60, 120, 300, 600) if length / s <= 12 or s == 600)
        for second in range(0, length + 1, step):
            x = self.x(self.first + second)
            self.add("text", f"{second} s", x=f"{x:.1f}", y=height - 18, text_anchor="middle")
        self.out.append("</svg>")
        return "\n".join(self.out)


def main():
    cloud = arrivals(sys.argv[1])
    local = {}
    for path in sys.argv[3:]:
        site = os.path.basename(path).removesuffix(".log")
        local[site] = arrivals(path, "readings").get(site, {})
    print(Plot(cloud, local, *spans(sys.argv[2])).draw())


main()
