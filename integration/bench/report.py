#!/usr/bin/env python3
"""Writes docs/performance.md and its plots from the results of measure.sh.

usage: integration/bench/report.py RESULTS DOCS      RESULTS has times, sizes, facts and perhaps arm
"""
import collections
import statistics
import sys
from pathlib import Path

import plot

HERE = Path(__file__).parent
# The default of run.sh.
ROUNDS = 60
LAYOUTS = {
    "v1": "Cgroup v1, each command 60 ms after the previous one",
    "v2": "Cgroup v2 (the v2 tree alone is mounted on /sys/fs/cgroup)",
    "hybrid": "Hybrid (v1 controllers beside the v2 tree), each command 60 ms after the previous one",
}
COMMANDS = {
    "run": "run", "run-profile": "run with docker's default profile", "create": "create", "start": "start", "exec": "exec",
    "delete": "delete", "delete-force": "delete --force", "state": "state",
    "disk-run": "run, state on a disk", "disk-create": "create, state on a disk", "disk-delete": "delete, state on a disk",
}
RUNTIMES = {"floor": "floor", "embrun": "embrun", "crun": "crun, static", "debian-crun": "crun of Debian", "runc": "runc of Debian"}
SIZES = {
    "binary": "program, bytes", "peak": "peak RSS of run with docker's default profile, KB", "run-dirty": "private dirty memory of run, KB",
    "init-dirty": "private dirty memory of a waiting init, KB",
    "limit": "least memory limit under which /bin/true starts three of three times, with that profile, KiB",
}


def rows(path):
    """The fields of each line, without comments; none if there is no such file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


def table(head, body):
    """The lines of a table in Markdown."""
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in body:
        yield "| " + " | ".join(row) + " |"
    yield ""


class Results:
    """All measurements of a run."""

    def __init__(self, directory):
        walls, cpus = collections.defaultdict(list), collections.defaultdict(list)
        for layout, command, runtime, wall, cpu, _status in rows(directory / "times"):
            walls[layout, command, runtime].append(int(wall))
            cpus[layout, command, runtime].append(int(cpu))
        self.median = {key: statistics.median(values) for key, values in walls.items()}
        self.low = {key: sorted(values)[len(values) // 10] for key, values in walls.items()}
        self.cpu = {key: statistics.median(values) for key, values in cpus.items()}
        self.sizes = {(layout, what, runtime): int(n) for layout, what, runtime, n in rows(directory / "sizes")}
        self.facts = dict(rows(directory / "facts"))
        self.arm = rows(directory / "arm")

    def is_busy(self):
        return float(self.facts["load"].split()[0]) > float(self.facts["processors"])

    def number(self, layout, command, runtime):
        """A median time or a size; None if it was not measured."""
        return self.median.get((layout, command, runtime), self.sizes.get((layout, command, runtime)))

    def times(self, layout):
        """The table of a layout."""
        base = "crun" if (layout, "run", "crun") in self.median else "runc"
        for command, name in self.commands(layout):
            of = self.median.get((layout, command, base))
            for runtime, label in RUNTIMES.items():
                key = (layout, command, runtime)
                if key in self.median:
                    wall = self.median[key]
                    ratio = f"{wall / of:.2f} ({self.low[key] / self.low[layout, command, base]:.2f})" if of else "-"
                    yield [name, label, f"{wall / 1000:.2f} ({self.low[key] / 1000:.2f})", ratio, f"{self.cpu[key] / 1000:.2f}",
                           f"{self.cpu[key] / self.cpu[layout, command, base]:.2f}" if of else "-"]

    def commands(self, layout):
        """The measured commands with their titles, in the order of the tables."""
        seen = {command for at, command, _ in self.median if at == layout}
        yield from ((command, name) for command, name in COMMANDS.items() if command in seen)
        beside = sorted((verb, int(n)) for verb, n in (c.rsplit("-", 1) for c in seen if c[-1].isdigit()))
        yield from ((f"{verb}-{n}", f"{verb} {'of' if verb == 'list' else 'beside'} {n}") for verb, n in beside)

    def goals(self):
        """The rows of the goals. A busy machine distorts times, so it neither meets nor misses a goal of time."""
        reasons = {tuple(row[:3]): row[3] for row in rows(HERE / "reasons.tsv")}
        for layout, command, most, of in rows(HERE / "goals.tsv"):
            reached = self.number(layout, command, "embrun")
            if of in ("crun", "floor"):
                base = self.number(layout, command, of)
                reached = reached / base if reached is not None and base else None
                what = f"{most} of {RUNTIMES[of]}"
                said = f"{reached:.2f}" if reached is not None else "not measured"
            else:
                what, said = f"{most} {of}", "not measured" if reached is None else f"{reached:.0f} {of}"
            met = reached is not None and reached <= float(most)
            name = COMMANDS.get(command) or SIZES.get(command) or command.replace("-", " of ")
            why = "" if met or reached is None else reasons.get((layout, command, of), "not known yet")
            verdict = "yes" if met else "**no**"
            if reached is None or command not in SIZES and self.is_busy():
                verdict, why = "not known", "" if reached is None else "measured on a busy machine"
            yield [layout, name, what, said, verdict, why]


def document(r):
    """The lines of docs/performance.md."""
    f = r.facts
    yield "# Performance"
    yield ""
    yield "`make bench` writes this file and its plots; do not edit them. The goals are in `integration/bench/goals.tsv`, the reasons for"
    yield "missed ones in `integration/bench/reasons.tsv`."
    yield ""
    yield f"Measured on {f['date']}: {f['processors']} processors, {f['cpu']}, kernel {f['kernel']}, load {f['load-before']} before and {f['load']} after;"
    yield f"{f['rounds']} rounds, all runtimes interleaved on the same bundle (`runc spec`, busybox `/bin/true`), state on a tmpfs unless said."
    yield f"embrun {f['embrun']}, the release binary of that commit; crun {f['crun']}, built static from Debian's source; Debian's crun {f['debian-crun']} and"
    yield f"runc {f['runc']}. The floor ([floor.c](../integration/bench/floor.c)) makes only the kernel's calls for the same container."
    if r.is_busy():
        yield ""
        yield "**The machine was busy with other work.** Wall times then contain waits for a processor, and so do their ratios. The CPU times"
        yield "are more reliable, and the memory is not affected. Measure again on an idle machine before you rely on a time."
    if int(f["rounds"]) < ROUNDS:
        yield ""
        yield f"**{f['rounds']} rounds are few**: their medians and fastest tenths are rough. `make bench` makes {ROUNDS}."
    yield ""
    yield "![bars](performance-peers.svg)"
    yield ""
    yield "## Goals"
    yield ""
    yield from table(["cgroups", "what", "goal", "reached", "met", "reason if not"], r.goals())
    for layout, title in LAYOUTS.items():
        body = list(r.times(layout))
        if not body:
            continue
        yield f"## {title}"
        yield ""
        base = "runc, because crun refuses a hybrid host" if layout == "hybrid" else "static crun"
        yield f"Times are the median, and in brackets the fastest tenth. The ratio is to {base}."
        yield ""
        yield from table(["command", "runtime", "wall ms", "ratio", "CPU ms", "ratio"], body)
    yield "## Beside other containers"
    yield ""
    yield "![curves](performance-count.svg)"
    yield ""
    yield "## Memory"
    yield ""
    names = [name for name in RUNTIMES if ("v1", "binary", name) in r.sizes]
    body = [[text, *(str(r.sizes.get(("v1", what, name), "-")) for name in names)] for what, text in SIZES.items()]
    yield from table(["", *(RUNTIMES[name] for name in names)], body)
    if r.arm:
        yield "## Emulated ARM"
        yield ""
        yield "Ratios to Debian's crun in the same guest; emulation makes times meaningless."
        yield "A `create` right after a `run` takes longer, whatever its filter and namespaces are: most of it is spent in making the"
        yield "cgroup, while the kernel still releases that of the run (`--trace` shows it). crun waits as well."
        yield ""
        yield from table(["machine", "filter", "peak RSS of run", "ratio", "run", "create", "exec", "delete"], r.arm)


def main():
    results, docs = Results(Path(sys.argv[1])), Path(sys.argv[2])
    (docs / "performance.md").write_text("\n".join(document(results)).rstrip() + "\n")
    layout = "v2" if ("v2", "run", "crun") in results.median else "v1"
    groups = [(name, [(RUNTIMES[rt], results.median.get((layout, command, rt), 0) / 1000) for rt in RUNTIMES])
              for command, name in results.commands(layout) if command in COMMANDS and not command.startswith("disk")]
    title = f"Median wall time in ms, cgroup {layout}"
    (docs / "performance-peers.svg").write_text(plot.bars(title, groups, list(RUNTIMES.values())))
    curves = collections.defaultdict(list)
    for (at, command, runtime), wall in sorted(results.median.items()):
        verb, _, count = command.rpartition("-")
        if at == layout and count.isdigit() and runtime in ("embrun", "crun"):
            curves[f"{verb}, {RUNTIMES[runtime]}"].append((int(count), wall / 1000))
    title = f"Median wall time in ms beside this many containers, cgroup {layout}"
    (docs / "performance-count.svg").write_text(plot.curves(title, {name: sorted(points) for name, points in curves.items()}))


main()
