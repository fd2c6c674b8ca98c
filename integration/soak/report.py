#!/usr/bin/env python3
"""Checks that the samples of soak.py stay flat, draws a plot and prints a table.

usage: report.py SAMPLES TIMES PLOT      prints a table

It compares the first third of the run, without its first minute, with the last third. Counts must not grow at all. Memory may
grow by 64 KB, because a process touches some pages for the first time late. Latencies are the times of the fastest tenth, since
other programs may load the machine. They may double; if a process in new namespaces without a runtime takes longer too, they may
grow by that factor as well.
"""
import math
import statistics
import sys

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#333333"]
UNITS = {"memory": "KB of anonymous memory of run and events", "descriptors": "descriptors of run and events", "state": "KB of state files"}
GROWTH = {"memory": 64}
# How much slower a command may become if the machine does not.
SLOWER = 2
WIDTH, LEFT, TOP, HEIGHT = 960, 70, 60, 260


def read(path):
    """The series of a file: name to (time, value)."""
    series = {}
    with open(path) as file:
        for line in file:
            moment, name, value = line.rstrip("\n").split("\t")
            series.setdefault(name, []).append((float(moment), float(value)))
    return series


def thirds(points, end):
    """The values of the first and of the last third, without the first minute (or tenth)."""
    begin = min(60, end / 10)
    third = (end - begin) / 3
    first = [v for t, v in points if begin <= t < begin + third]
    last = [v for t, v in points if t >= end - third]
    return first, last


def fast(values):
    """The time that a tenth of the commands did not exceed."""
    return statistics.quantiles(values, n=10, method="inclusive")[0]


def check(samples, times, end):
    """Rows of the table, and what has grown."""
    rows, bad = [], []
    for name, points in samples.items():
        first, last = thirds(points, end)
        limit = max(first) + GROWTH.get(name, 0)
        rows.append((UNITS.get(name, name), f"{max(first):g}", f"{max(last):g}", f"at most {limit:g}"))
        if max(last) > limit:
            bad.append(f"{name}: {max(first):g}, then {max(last):g}")
    speed = [fast(part) for part in thirds(times["reference"], end)]
    slower = SLOWER * max(1, speed[1] / speed[0])
    for name, points in sorted(times.items()):
        parts = thirds(points, end)
        if min(map(len, parts)) < 5:
            rows.append((f"{name} ({len(points)} times)", "-", "-", "too few to compare"))
            continue
        first, last = map(fast, parts)
        limit = "for comparison" if name == "reference" else f"at most {first * slower:.1f} ms"
        rows.append((f"{name} ({len(points)} times)", f"{first:.1f} ms", f"{last:.1f} ms", limit))
        if name != "reference" and last > first * slower:
            bad.append(f"{name}: {first:.1f} ms, then {last:.1f} ms")
    return rows, bad


def panel(title, series, end, top, logarithmic):
    """One plot with a line for each series."""
    values = [v for points in series.values() for _, v in points]
    low, high = (min(values) / 1.3, max(values) * 1.3) if logarithmic else (0, max(values) * 1.1)
    scale = math.log if logarithmic else float
    y = lambda v: top + HEIGHT - HEIGHT * (scale(v) - scale(low or 0)) / (scale(high) - scale(low or 0))
    x = lambda t: LEFT + (WIDTH - LEFT - 20) * t / end
    out = [f'<text x="{LEFT}" y="{top - 34}" font-weight="bold">{title}</text>']
    ticks = [m * 10.0**e for e in range(-3, 7) for m in (1, 2, 5)]
    ticks = [t for t in ticks if low <= t <= high and (logarithmic or t >= high / 12)] + ([] if logarithmic else [0])
    for tick in ticks:
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for n, (name, points) in enumerate(series.items()):
        at, colour = LEFT + n % 8 * 110, COLOURS[n % len(COLOURS)]
        out.append(f'<rect x="{at}" y="{top - 24}" width="10" height="10" fill="{colour}"/>'
                   f'<text x="{at + 14}" y="{top - 15}">{name}</text>')
        line = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in points)
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    for n in range(6):
        moment = end * n / 5
        out.append(f'<text x="{x(moment):.1f}" y="{top + HEIGHT + 18}" text-anchor="middle">{moment / 60:.1f} min</text>')
    return out


def smooth(points, end, parts=60):
    """The fastest tenth, or the fastest of a few, in each part of the run."""
    groups = {}
    for moment, value in points:
        groups.setdefault(min(int(moment / end * parts), parts - 1), []).append(value)
    return [((part + 0.5) * end / parts, fast(values) if len(values) > 4 else min(values)) for part, values in sorted(groups.items())]


def draw(samples, times, end):
    counts = {name: points for name, points in samples.items() if max(v for _, v in points) > 0}
    shown = ["exec", "create", "start", "update", "delete", "events", "run", "reference"]
    latencies = {name: smooth(times[name], end) for name in shown if name in times}
    height = 2 * (HEIGHT + TOP) + 90
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *panel("between commands (memory and state in KB)", counts, end, TOP, True),
        *panel("milliseconds of each command, the fastest tenth", latencies, end, TOP + HEIGHT + TOP + 50, True), "</svg>", ""])


def main():
    samples, times = read(sys.argv[1]), read(sys.argv[2])
    end = max(t for points in samples.values() for t, _ in points)
    rows, bad = check(samples, times, end)
    commands = sum(len(points) for name, points in times.items() if name != "reference")
    print(f"\n{end / 60:.1f} minutes, {commands} commands.\n")
    print("| | first third | last third | limit |", "|---|--:|--:|---|", *(f"| {' | '.join(row)} |" for row in rows), sep="\n")
    with open(sys.argv[3], "w") as file:
        file.write(draw(samples, times, end))
    if bad:
        sys.exit("soak: " + "; ".join(bad))


main()
