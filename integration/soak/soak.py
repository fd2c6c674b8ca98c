#!/usr/bin/env python3
"""Runs containers as on a gateway, and writes samples of what they use and the time of each command.

usage: soak.py EMBRUN ROOTFS MINUTES DIR CGROUP

It runs in its own pid and mount namespaces. DIR gets samples.tsv (what exists between two commands) and times.tsv.
"""
import glob
import json
import os
import subprocess
import sys
import time

RUNTIME, ROOTFS, MINUTES, WORK, PARENT = sys.argv[1:]
ROOT = f"{WORK}/state"
NAMES = ["collector", "processor", "uplink", "updater"]
LONG, ONCE = "foreground", "once"


def call(*words, wait=True):
    """Runs the runtime; a command that fails ends the run."""
    command = [RUNTIME, "--root", ROOT, *words]
    with open(f"{WORK}/output", "w+") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        if not wait:
            return child
        try:
            status = child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            status = "no end in 60 s"
        if status != 0:
            output.seek(0)
            sys.exit(f"{' '.join(words)}: {status}: {output.read()}")
    return child


class Soak:
    def __init__(self):
        self.began = time.monotonic()
        self.times = open(f"{WORK}/times.tsv", "w")
        self.samples = open(f"{WORK}/samples.tsv", "w")
        self.events = None

    def now(self):
        return time.monotonic() - self.began

    def timed(self, name, *words):
        began = time.perf_counter()
        call(*words)
        self.note(name, began)

    def note(self, name, began):
        self.times.write(f"{self.now():.1f}\t{name}\t{(time.perf_counter() - began) * 1000:.3f}\n")

    def reference(self):
        """A process in new namespaces without a runtime: how fast the machine is at this moment."""
        began = time.perf_counter()
        subprocess.run(["unshare", "--fork", "--pid", "--mount", f"{ROOTFS}/bin/busybox", "true"], check=True)
        self.note("reference", began)

    def up(self, name):
        self.timed("create", "create", "--bundle", f"{WORK}/{name}", name)
        self.timed("start", "start", name)

    def restart(self, name):
        if name == NAMES[0]:
            self.events.terminate()
            self.events.wait()
        self.timed("kill", "kill", name, "KILL")
        self.timed("delete", "delete", "--force", name)
        self.up(name)
        if name == NAMES[0]:
            self.watch()

    def watch(self):
        self.events = call("events", "--interval", "2s", NAMES[0], wait=False)

    def second(self, number):
        """Runs the commands of one second; each kind has its own period."""
        name = NAMES[number % len(NAMES)]
        self.reference()
        for each in [*NAMES, LONG]:
            self.timed("exec", "exec", each, "true")
        if number % 3 == 0:
            self.timed("events", "events", "--stats", name)
            self.timed("list", "list", "--format", "json")
        if number % 5 == 0:
            self.timed("update", "update", "--pids-limit", str(50 + number % 7), name)
        if number % 7 == 0:
            self.timed("pause", "pause", name)
            self.timed("resume", "resume", name)
        if number % 11 == 0:
            self.timed("device add", "device", "add", name, "/dev/full", "--as", "/dev/hot")
            self.timed("device remove", "device", "remove", name, "/dev/full", "--as", "/dev/hot")
        if number % 13 == 0:
            self.restart(name)
        if number % 17 == 0:
            self.timed("run", "run", "--bundle", f"{WORK}/{ONCE}", ONCE)

    def sample(self):
        """Counts what exists while no command runs."""
        processes = [pid for pid in os.listdir("/proc") if pid.isdigit()]
        own = [f"/proc/{child.pid}" for child in (self.long, self.events)]
        memory = sum(int(line.split()[1]) for path in own for line in open(f"{path}/smaps_rollup")
                     if line.startswith("Anonymous:"))
        cgroups = sum(len(dirs) for top in glob.glob(f"/sys/fs/cgroup/{PARENT}") + glob.glob(f"/sys/fs/cgroup/*/{PARENT}")
                      for _, dirs, _ in os.walk(top))
        files = [os.path.join(path, name) for path, _, names in os.walk(ROOT) for name in names]
        values = {
            "memory": memory,
            "descriptors": sum(len(os.listdir(f"{path}/fd")) for path in own),
            "processes": len(processes),
            "cgroups": cgroups,
            "files": len(files),
            "state": sum(os.lstat(name).st_size for name in files) // 1024,
            "mounts": sum(1 for _ in open("/proc/self/mountinfo")),
        }
        for name, value in values.items():
            self.samples.write(f"{self.now():.1f}\t{name}\t{value}\n")

    def run(self):
        for name in NAMES:
            self.up(name)
        self.long = call("run", "--bundle", f"{WORK}/{LONG}", LONG, wait=False)
        deadline = time.monotonic() + 60
        while subprocess.run([RUNTIME, "--root", ROOT, "exec", LONG, "true"], capture_output=True).returncode != 0:
            if time.monotonic() > deadline:
                sys.exit("run does not start its container")
        self.watch()
        number, end = 1, float(MINUTES) * 60
        while self.now() < end:
            began = time.monotonic()
            self.second(number)
            if number % 2 == 0:
                self.sample()
            number += 1
            time.sleep(max(0, began + 1 - time.monotonic()))
        for child in (self.long, self.events):
            if child.poll() is not None:
                sys.exit(f"a process that should still run ended with {child.returncode}")
        for name in [*NAMES, LONG]:
            call("delete", "--force", name)
        self.long.wait(60)
        self.events.wait(60)
        left = os.listdir(ROOT)
        if left:
            sys.exit(f"left in the state directory: {left}")
        self.times.close()
        self.samples.close()


def bundles():
    """A bundle for each container, with the configuration of `embrun spec`."""
    for name in [*NAMES, LONG, ONCE]:
        os.mkdir(f"{WORK}/{name}")
        call("spec", "--bundle", f"{WORK}/{name}")
        with open(f"{WORK}/{name}/config.json") as file:
            config = json.load(file)
        config["process"].update(terminal=False, args=["true"] if name == ONCE else ["sleep", "100000"])
        config["root"] = {"path": ROOTFS, "readonly": True}
        config["linux"]["cgroupsPath"] = f"/{PARENT}/{name}"
        config["linux"]["resources"]["pids"] = {"limit": 50}
        with open(f"{WORK}/{name}/config.json", "w") as file:
            json.dump(config, file)


bundles()
Soak().run()
