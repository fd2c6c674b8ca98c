#!/usr/bin/env python3
"""Cuts the power of a gateway at random moments, and checks that it comes back and loses nothing that it acknowledged.

power.sh starts it in network and pid namespaces of its own. The cloud's side (broker, recorder, disk) is here; the gateway is a
guest of user-mode Linux, whose processes are all killed at once. FOLDER has root.img, disk.img, and the keys of certs.sh.

With `netem` for CUTS, the guest's own link delays, loses and reorders packets instead (sch_netem), and nothing acknowledged may be lost
either. The guest has no disk then, because the link would slow it down too.

usage: power.py FOLDER KERNEL CUTS|netem SEED TOOLS      TOOLS: the folder of gateway-tool
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

from parts import eventually

OWN = pathlib.Path(__file__).parent
ADDRESS = "10.60.0.1"
SITE = "a"
PATIENCE = 240
# After a power cut the queue's cursor is at most AGAIN messages behind (queue.rs), and each new connection sends again up to WINDOW
# messages that were not acknowledged (link.rs). Before the first cut the cloud gets more messages than one cut may repeat, so that
# even one cut shows a cursor that was never flushed.
AGAIN, WINDOW, ENOUGH = 100, 100, 400
NETEM = "netem=delay,80ms,20ms,reorder,25%,loss,10%"
LINE = re.compile(r"acknowledged (\S+) (\{.*\})\s*$")


def microseconds():
    return int(time.time() * 1e6)


class Cloud:
    """The broker, a recorder of all that reaches it, and the disk's medium."""

    def __init__(self, folder, tool, seed):
        self.folder, self.tool, self.version = folder, tool, 0
        self.environment = os.environ | {"BROKER": f"{ADDRESS}:8883", "SITES": SITE}
        for name, file in [("CA", "ca.crt"), ("CERT", "client.crt"), ("KEY", "client.key")]:
            self.environment[name] = str(folder / file)
        (folder / "cloud.conf").write_text(
            f"listener 8883 {ADDRESS}\ncafile {folder}/ca.crt\ncertfile {folder}/cloud.crt\nkeyfile {folder}/cloud.key\n"
            "require_certificate true\nallow_anonymous true\nuser root\nmax_queued_messages 0\n"
        )
        self.spawn("broker", ["mosquitto", "-c", folder / "cloud.conf"])
        self.wait("the broker", lambda: b" running" in (folder / "broker.log").read_bytes())
        subprocess.run(["nft", "add table ip wan; add chain ip wan in { type filter hook input priority 0; }"], check=True)
        self.record = folder / "record"
        tls = ["--cafile", folder / "ca.crt", "--cert", folder / "client.crt", "--key", folder / "client.key"]
        where = ["-h", ADDRESS, "-p", "8883", "-i", "recorder", "-c", "-q", "1", "-t", "sites/#", "-F", "%t %p"]
        with open(self.record, "wb") as out:
            subprocess.Popen(["mosquitto_sub", *tls, *where], stdout=out, stdin=subprocess.DEVNULL)
        self.disk = folder / "disk.log"
        self.spawn("disk", ["python3", OWN / "disk.py", ADDRESS, "7000", folder / "disk.img", str(seed)])
        self.wait("the disk", lambda: b"ready" in self.disk.read_bytes())
        with open(folder / "firmware.bin", "wb") as image:
            image.write(random.randbytes(2 << 20))

    def spawn(self, name, command):
        with open(self.folder / f"{name}.log", "wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def wait(self, what, condition):
        eventually(what, condition, PATIENCE, 0.2)

    def wan(self, state):
        """Cuts the guest off from the broker, so that the uplink's queue fills with messages that the cloud does not have."""
        words = "flush chain ip wan in" if state == "up" else "add rule ip wan in iifname cloud0 tcp dport 8883 drop"
        subprocess.run(["nft", *words.split()], check=True)

    def publish_firmware(self):
        self.version += 1
        command = [self.tool, "firmware", self.folder / "firmware.key", str(self.version), self.folder / "firmware.bin"]
        return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL)

    def messages(self):
        """Pairs of a topic's last words and the decoded payload, in the order of arrival."""
        for line in self.record.read_text(errors="replace").splitlines():
            topic, _, payload = line.partition(" ")
            try:
                yield topic.removeprefix(f"sites/{SITE}/"), json.loads(payload)
            except ValueError:
                continue

    def connections(self):
        """How often the uplink has connected."""
        log = (self.folder / "broker.log").read_text(errors="replace")
        return len(re.findall(rf"New client connected from \S+ as {SITE}-uplink ", log))

    def read_since(self, then):
        return any(m.get("t", 0) > then for kind, m in self.messages() if kind == "readings")

    def sites_work_since(self, then):
        """Whether all five services have worked since a time, by the times in their messages."""
        wanted = {"readings", "results", "done", "health/firmware-updater"}
        wanted -= {kind for kind, m in self.messages() if m.get("t", 0) > then and kind in wanted}
        return not wanted


class Guest:
    """One boot of the gateway."""

    def __init__(self, folder, kernel, number, netem=None):
        self.console = folder / f"console.{number}"
        for words in (
            "link del cloud0",
            "tuntap add cloud0 mode tap",
            # The driver of user-mode Linux drops the long frames that a tap device passes on otherwise.
            "link set cloud0 gso_max_segs 1 up",
            "route replace 10.60.0.2/32 dev cloud0 src 10.60.0.1",
        ):
            subprocess.run(["ip", *words.split()], check=not words.startswith("link del"), stderr=subprocess.DEVNULL)
        line, feed = os.pipe()
        actuator = os.open(folder / "actuator", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        megabytes = (folder / "disk.img").stat().st_size >> 20
        command = [
            OWN.parent / "guest/pinned.sh", "unshare", "--pid", "--fork", "--kill-child", kernel,
            f"ubd0r={folder}/root.img", "root=/dev/ubda", "ro", "mem=256M", "init=/sbin/init", "quiet", "con=null", "con0=null,fd:1",
            "vec0:transport=tap,ifname=cloud0,depth=64,mac=52:54:00:60:00:02", netem or f"disk={ADDRESS}:7000:{megabytes}",
            f"ssl1=fd:{line},null", f"ssl2=null,fd:{actuator}", f"umid=power{os.getpid()}-{number}", f"uml_dir={folder}/uml",
        ]  # fmt: skip
        self.began, self.clock = microseconds(), time.monotonic()
        with open(self.console, "wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(line, actuator)
            )
        os.close(line)
        os.close(actuator)
        self.feeder = subprocess.Popen(
            ["sh", "-c", "while sleep 0.1; do echo 21.5 || exit; done"], stdout=feed, stderr=subprocess.DEVNULL
        )
        os.close(feed)

    def cut(self):
        """Kills the first process of the guest's pid namespace, so that the kernel kills all others with it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.feeder.kill()
        self.feeder.wait()

    def said(self, word):
        found = [line for line in self.console.read_text(errors="replace").splitlines() if line.startswith(word)]
        return found[-1] if found else None


class Check:
    """Checks the guest after each cut, and the messages at the end."""

    def __init__(self, cloud):
        self.cloud, self.active, self.failures = cloud, 0, []

    def fail(self, text):
        print(f"power: FAILED: {text}", flush=True)
        self.failures.append(text)

    def boot(self, guest, number):
        """The slots and leftovers that the guest found before it started the services."""
        left, slots = guest.said("left "), guest.said("slots ")
        if left is None or slots is None:
            return
        if "left 0 containers, 0 cgroups" not in left:
            self.fail(f"boot {number}: {left}")
        found = [json.loads(text) for text in re.findall(r"\{[^}]*\}", slots)]
        if len(found) != 2:
            self.fail(f"boot {number}: {slots}")
            return
        active = max([s["version"] for s in found if s["active"]], default=0)
        if any(s["version"] and not s["whole"] for s in found) or not self.active <= active <= self.cloud.version:
            self.fail(f"boot {number}: version {self.active} was active, {self.cloud.version} was published, now {slots}")
        self.active = active

    def acknowledged(self, folder):
        """The messages that the uplink acknowledged, as it reported on the console after they were on its disk."""
        found = set()
        for console in folder.glob("console.*"):
            for line in console.read_text(errors="replace").splitlines():
                match = LINE.search(line)
                if match:
                    try:
                        found.add((match[1].removeprefix(f"sites/{SITE}/"), json.loads(match[2])["id"]))
                    except ValueError:
                        continue
        return found

    def lost(self, acknowledged):
        return acknowledged - {(kind, m.get("id")) for kind, m in self.cloud.messages()}

    def order(self):
        """The first copy of each message comes in the order of the ids; returns how many there are, and how many copies."""
        last, seen, repeated = {}, set(), 0
        for kind, m in self.cloud.messages():
            if kind not in ("readings", "results", "alarms", "done") or "id" not in m:
                continue
            if (kind, m["id"]) in seen:
                repeated += 1
            elif m["id"] < last.get(kind, 0):
                self.fail(f"{kind}: {m['id']} came after {last[kind]}")
            else:
                last[kind] = m["id"]
            seen.add((kind, m["id"]))
        return len(seen), repeated

    def repetition(self, cuts):
        """Checks that the uplink repeats few messages; returns how many different ones came, how many copies, and how many may."""
        seen, repeated = self.order()
        most = cuts * AGAIN + (self.cloud.connections() - 1) * WINDOW
        if repeated > most:
            self.fail(f"{repeated} repeated copies, but {cuts} cuts and {self.cloud.connections()} connections explain at most {most}")
        return seen, repeated, most

    def finish(self, folder):
        """Waits until the last update is confirmed and the cloud has all that was acknowledged; returns how much that is, and is lost."""
        cloud = self.cloud
        if cloud.version:
            cloud.wait(
                f"version {cloud.version} confirmed",
                lambda: any(m.get("what") == "confirmed" and m["version"] == cloud.version for k, m in cloud.messages() if k == "firmware/status"),
            )
            self.active = cloud.version
        acknowledged = self.acknowledged(folder)
        try:
            cloud.wait("all acknowledged messages in the cloud", lambda: not self.lost(acknowledged))
        except AssertionError:
            self.fail(f"lost: {sorted(self.lost(acknowledged))[:10]}")
        if len(acknowledged) < 10:
            self.fail(f"only {len(acknowledged)} messages were acknowledged")
        return len(acknowledged), len(self.lost(acknowledged))


def bad_link(folder, kernel, cloud, check):
    """The guest's link delays, loses and reorders packets, and is cut once."""
    guest = Guest(folder, kernel, 0, NETEM)
    cloud.wait("all services", lambda: cloud.sites_work_since(guest.began))
    cloud.wait(f"{ENOUGH} messages", lambda: len(check.acknowledged(folder)) >= ENOUGH)
    cloud.wan("down")
    stored = len(check.acknowledged(folder)) + ENOUGH // 2
    cloud.wait("the queue fills", lambda: len(check.acknowledged(folder)) >= stored)
    cloud.wan("up")
    until = microseconds()
    cloud.wait("a reading after the cut", lambda: cloud.read_since(until))
    acknowledged, lost = check.finish(folder)
    link = guest.said("netem ") or ""
    guest.cut()
    dropped = re.search(r"dropped (\d+)", link)
    if not dropped or int(dropped[1]) == 0:
        check.fail(f"the link dropped nothing: {link}")
    seen, repeated, most = check.repetition(0)
    print(
        f"netem: {acknowledged} acknowledged messages, {lost} lost; {seen} in the cloud, and {repeated} repeated copies"
        f" of at most {most}; the link: {link}"
    )


def power_cuts(folder, kernel, cloud, check, cuts, chance):
    kinds, first, back = [], [], []
    for number in range(cuts + 1):
        guest = Guest(folder, kernel, number)
        last = number == cuts
        # The first cut of a short run comes during an update.
        kind = "last" if last else "update" if number == 0 else chance.choice(["update", "work", "boot"])
        publisher = None
        if kind == "boot":
            time.sleep(chance.uniform(0.3, 6))
        else:
            cloud.wait(f"a reading after boot {number}", lambda: cloud.read_since(guest.began))
            first.append(time.monotonic() - guest.clock)
            cloud.wait(f"all services after boot {number}", lambda: cloud.sites_work_since(guest.began))
            back.append(time.monotonic() - guest.clock)
        if number == 0:
            cloud.wait(f"{ENOUGH} messages before the first cut", lambda: len(check.acknowledged(folder)) >= ENOUGH)
        if kind == "update":
            publisher = cloud.publish_firmware()
        if not last:
            time.sleep(chance.uniform(0, 4))
            if kind != "boot":
                cloud.wan("down")
                time.sleep(chance.uniform(1, 4))
            guest.cut()
            cloud.wan("up")
            kinds.append(kind)
        check.boot(guest, number)
        if publisher:
            publisher.wait()
        print(f"boot {number}: {kind}, active version {check.active} of {cloud.version}", flush=True)
    acknowledged, lost = check.finish(folder)
    guest.cut()
    seen, repeated, most = check.repetition(cuts)
    pages = [int(line.split()[1]) for line in cloud.disk.read_text().splitlines() if line.startswith("lost")]
    print(
        f"power: {cuts} cuts ({', '.join(f'{kinds.count(k)} {k}' for k in sorted(set(kinds)))}): {acknowledged} acknowledged messages,"
        f" {lost} lost; {seen} in the cloud, and {repeated} repeated"
        f" copies of at most {most}; first reading after {min(first):.1f} to {max(first):.1f} s, all"
        f" services after {min(back):.1f} to {max(back):.1f} s; pages lost in the disk's cache {pages}; active firmware {check.active}"
    )


def main():
    folder, kernel, cuts, seed, tools = sys.argv[1:]
    folder = pathlib.Path(folder)
    cloud = Cloud(folder, pathlib.Path(tools) / "gateway-tool", seed)
    check = Check(cloud)
    if cuts == "netem":
        bad_link(folder, kernel, cloud, check)
    else:
        power_cuts(folder, kernel, cloud, check, int(cuts), random.Random(int(seed)))
    if check.failures:
        sys.exit(f"power: {len(check.failures)} failures")


main()
