"""The checks of one site: what it must do, deny and survive. A check raises AssertionError with a clear line."""
import json, os, subprocess, time

from bundles import ROLES
from parts import Waits, eventually

ALARM_MS, ALARMS, CONTROL_MS = 50, 300, 100
# The threads on an alarm's way, each of which may wait for a processor: two of the collector, the broker's, two of the processor.
HOPS = 5


def all_of(site):
    """Runs all checks, prints a line for each and the table; the exit status."""
    failed, denied = 0, {}
    for name, check in (
        ("all five run, readings reach the cloud", starts), ("firmware is installed and confirmed", firmware),
        ("an alarm within 50 ms, and the actuator obeys it", alarm), ("commands: signed, once, for this site", commands),
        ("each role is denied what it must not do", lambda s: attempts(s, denied)),
        ("a sensor is unplugged and plugged in again", unplug), ("control while the processor takes all memory", hog),
        ("the safe state when the processor is silent", silence), ("firmware without results is rolled back", rollback),
        ("the WAN is cut", lambda s: wan(s, "drop")), ("the WAN loses 30% of the packets", lambda s: wan(s, LOSS)),
    ):
        began = time.monotonic()
        try:
            note, word = check(site) or "", "ok"
        except (AssertionError, subprocess.CalledProcessError) as e:
            note, word, failed = f"{e} {getattr(e, 'stderr', '') or ''}", "FAILED", failed + 1
        print(f"{word:6} {name} ({time.monotonic() - began:.1f} s) {note}", flush=True)
        if word == "FAILED" and check is starts:
            break
    table(site, denied)
    if failed:
        print(f"gateway: {failed} checks failed", flush=True)
    return 1 if failed else 0


LOSS = "numgen random mod 100 < 30 drop"


def starts(site):
    eventually("all five services run", lambda: all(site.pid(role) for role in ROLES))
    cloud = site.heard["cloud"]
    for kind in ("readings", "results"):
        eventually(f"{kind} reach the cloud", lambda: cloud.of(kind))
    eventually("raw readings", lambda: any(m["sensor"] == "raw" for m in cloud.of("readings")))
    site.first = cloud.of("readings")[0]["id"]
    return f"first reading in the cloud {site.uptime():.1f} s after the start"


def status(site, what, version):
    found = site.heard["cloud"].last("firmware/status")
    return found and (found["what"], found["version"]) == (what, version)


def install(site, version, key="firmware"):
    path = f"{site.box}/image-{version}"
    with open(path, "wb") as f:
        f.write(os.urandom(300_000))
    site.tool("cloud", "firmware", f"{site.certs}/{key}.key", str(version), path, SITES="a")


def slots(site):
    lines = site.tool("site", "slots", *site.slots).splitlines()
    return [json.loads(line) for line in lines]


def firmware(site):
    install(site, 1)
    eventually("version 1 is confirmed", lambda: status(site, "confirmed", 1))
    install(site, 2)
    eventually("version 2 is confirmed", lambda: status(site, "confirmed", 2))
    # Signed by the key of commands.
    install(site, 3, "command")
    eventually("version 3 is refused", lambda: status(site, "refused", 0))
    found = slots(site)
    assert [(s["version"], s["whole"], s["active"]) for s in found] == [(1, True, False), (2, True, True)], found


def alarm(site):
    """The best of three measurements counts, as in `hog`."""
    tried = []
    while len(tried) < 3 and not (tried and tried[-1][0]):
        tried.append(alarms(site))
    good, text = tried[-1]
    assert good, "; ".join(text for _, text in tried)
    return text


def alarms(site):
    """Whether p99 is short, and the longest time too without its threads' waits for a processor; and the times as a text."""
    cloud, before = site.heard["cloud"], len(site.heard["cloud"].of("alarms"))
    broker = next(child.pid for child in site.children if child.args[0] == "mosquitto")
    waits = Waits([broker, site.pid("data-collector"), site.pid("data-processor")])
    site.actuator.written = b""
    site.sensor.value = "80000"
    eventually(f"{ALARMS} alarms", lambda: len(cloud.of("alarms")) >= before + ALARMS)
    site.sensor.value = "20.0"
    eventually("the actuator is set", lambda: b"1" in site.actuator.written)
    waits.stop()
    measured = [(m["read"] / 1e6, m["t"] / 1e6) for m in cloud.of("alarms")[before:before + ALARMS]]
    took = sorted((end - begin) * 1000 for begin, end in measured)
    median, p99, longest = took[len(took) // 2], took[len(took) * 99 // 100], took[-1]
    text = f"{len(took)} alarms: median {median:.1f} ms, p99 {p99:.1f} ms, longest {longest:.1f} ms"
    late = [(end - begin) * 1000 - waits.longest(begin, end, HOPS) for begin, end in measured if (end - begin) * 1000 > ALARM_MS]
    if late:
        text += f", and {max(late):.1f} ms without waits for a processor"
    return p99 < ALARM_MS and max(late, default=0) < ALARM_MS, text


def send(site, text):
    prefix, options = site.client("cloud")
    subprocess.run([*prefix, "mosquitto_pub", *options, "-t", "sites/a/commands", "-q", "1", "-m", text], check=True)


def commands(site):
    cloud = site.heard["cloud"]
    def answered(text):
        before = len(cloud.of("done"))
        send(site, text)
        return eventually("the command is answered", lambda: next(
            (m for m in cloud.of("done")[before:] if m["cause"] in ("command", "refused")), None))
    sign = lambda where, key="command": site.tool("cloud", "command", f"{site.certs}/{key}.key", where, "1").strip()
    good = sign("a")
    assert answered(good)["cause"] == "command"
    for text, why in ((good, "not higher"), (sign("b"), "site b"), (sign("a", "firmware"), "signature"), ("{}", "signed")):
        done = answered(text)
        assert done["cause"] == "refused" and why in done["why"], f"{why}: {done}"


def attempts(site, denied):
    for role in ROLES:
        tried = site.run("exec", role, f"/{role}", "--try")
        lines = [json.loads(line) for line in tried.stdout.splitlines()]
        assert len(lines) > 30, f"{role}: {tried.stderr}"
        breaches = [line["try"] for line in lines if not line["denied"]]
        assert not breaches and tried.returncode == 0, f"{role} may: {breaches} {tried.stderr}"
        denied[role] = len(lines)
    lax = site.without_rights()
    breaches = [line["try"] for line in map(json.loads, lax.stdout.splitlines()) if not line["denied"]]
    assert len(breaches) > 20 and lax.returncode == 1, f"a container with all rights may only: {breaches} {lax.stderr}"
    return f"{sum(denied.values())} attempts; {len(breaches)} of one role succeed in a container with all rights"


def raw_count(site):
    return sum(m["sensor"] == "raw" for m in site.heard["site"].of("readings"))


def unplug(site):
    pid = site.pid("data-collector")
    change = lambda verb: site.run("device", verb, "data-collector", "/dev/hwrng", "--as", "/dev/iio0", *["--mode", "r"][:2 * (verb == "add")])
    gone = change("remove")
    assert gone.returncode == 0, gone.stderr
    eventually("the collector reports the missing device", lambda: "not permitted" in site.log("data-collector"))
    raw, lines = raw_count(site), len(site.heard["site"].of("readings"))
    eventually("the other sensor goes on", lambda: len(site.heard["site"].of("readings")) > lines + 30)
    assert raw_count(site) <= raw + 1, "readings of an unplugged device"
    back = change("add")
    assert back.returncode == 0, back.stderr
    eventually("readings after the device is back", lambda: raw_count(site) > raw + 5)
    assert site.pid("data-collector") == pid, "the collector restarted"


def hog(site):
    """The first measurement on a busy machine may be disturbed by others, so the best of three counts."""
    best = None
    for _ in range(3):
        pid = eventually("the processor runs", lambda: site.pid("data-processor"))
        with open(f"{site.dir}/data/data-processor/hog", "w"):
            pass
        measured = json.loads(site.tool("site", "control", f"{site.certs}/command.key", "a", "200"))
        eventually("the processor is killed and restarted", lambda: site.pid("data-processor") not in (None, pid))
        results = len(site.heard["site"].of("results"))
        eventually("results after the restart", lambda: len(site.heard["site"].of("results")) > results)
        assert measured["refused"] == 0, measured
        best = measured if best is None or measured["p99_ms"] < best["p99_ms"] else best
        if best["p99_ms"] < CONTROL_MS:
            break
    assert "ended 137" in site.events(), "no service was killed"
    assert best["p99_ms"] < CONTROL_MS, f"control took too long: {best}"
    return f"p50 {best['p50_ms']:.1f} ms, p99 {best['p99_ms']:.1f} ms, longest {best['max_ms']:.1f} ms"


def silence(site):
    cloud, before = site.heard["cloud"], len(site.heard["cloud"].of("done"))
    assert site.run("pause", "data-processor").returncode == 0
    try:
        eventually("the safe state", lambda: any(m["cause"] == "silence" and m["value"] == 0 for m in cloud.of("done")[before:]))
        refused = json.loads(site.tool("site", "control", f"{site.certs}/command.key", "a", "1"))
        assert refused["refused"] == 1, refused
    finally:
        site.run("resume", "data-processor")
    results = len(cloud.of("results"))
    eventually("results after the pause", lambda: len(cloud.of("results")) > results + 2)


def rollback(site):
    """Without results the new version is not confirmed."""
    assert site.run("pause", "data-processor").returncode == 0
    try:
        install(site, 4)
        eventually("version 4 is rolled back", lambda: status(site, "rolled back", 4))
    finally:
        site.run("resume", "data-processor")
    found = [s["version"] for s in slots(site) if s["active"]]
    assert found == [2], found


def wan(site, rule):
    local, cloud = site.heard["site"], site.heard["cloud"]
    site.wan(rule)
    try:
        if rule == "drop":
            eventually("the uplink notices", lambda: local.last("health/uplink")["cloud"] == 0)
        health = lambda: local.last("health/uplink")
        stored, goal = health()["stored"], 300
        eventually("readings are stored", lambda: health()["stored"] > stored + goal)
        waiting = health()["waiting"]
    finally:
        site.wan(None)
    last = local.last("readings")["id"]
    eventually("the cloud has everything", lambda: (cloud.last("readings") or {"id": 0})["id"] >= last)
    expected = [m["id"] for m in local.of("readings") if site.first <= m["id"] <= last]
    arrived = list(dict.fromkeys(m["id"] for m in cloud.of("readings") if site.first <= m["id"] <= last))
    repeated = len(cloud.of("readings")) - len({m["id"] for m in cloud.of("readings")})
    assert arrived == sorted(arrived), "readings arrived in another order"
    lost = set(expected) - set(arrived)
    assert not lost, f"{len(lost)} of {len(expected)} readings are lost, such as {sorted(lost)[:3]}"
    return f"{len(arrived)} readings in order, up to {waiting} waited, {repeated} came twice"


def table(site, denied):
    print(f"\n{'service':18}{'pid':>8}{'uptime s':>10}{'memory KB':>11}{'messages':>10}{'denied':>8}")
    for role in ROLES:
        where = "cloud" if role == "firmware-updater" else "site"
        health = site.heard[where].last(f"health/{role}") if hasattr(site, "heard") else None
        up = (health["t"] - health["started"]) / 1e6 if health else 0
        print(f"{role:18}{site.pid(role) or '-':>8}{up:>10.0f}{health['rss_kb'] if health else 0:>11}"
              f"{health['messages'] if health else 0:>10}{denied.get(role, 0):>8}")
