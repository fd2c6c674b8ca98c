#!/usr/bin/env python3
"""One site with embrun alone, started by busybox's init in private namespaces (run.sh): networks, brokers, bundles, services."""
import json, os, signal, subprocess, sys, time, traceback

import bundles
import checks
from bundles import ROLES
from parts import Listener, Pty, eventually, sh

CLOUD, SITE = "10.77.0.1", "10.77.0.2"
CAPABILITIES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE
SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP"""


class Site:
    """The running site."""

    def __init__(self, settings):
        self.__dict__.update(settings)
        self.dir = f"{self.box}/site"
        self.certs = f"{self.box}/certs"
        self.state = f"{self.box}/state"
        self.children = []
        self.began = time.monotonic()

    def start(self):
        self.network()
        self.brokers()
        self.sensor, self.actuator = Pty(), Pty()
        where = {
            "dir": self.dir, "site": "a", "cloud": f"{CLOUD}:8883", "certs": self.certs, "cgroup": self.cgroup,
            "tty": self.sensor.path, "actuator": self.actuator.path, "raw": "/dev/hwrng", "slots": self.slots,
            "foreign": "/dev/loop-control",
            "env": {
                "data-collector": {"PERIOD_MS": 200},
                "data-processor": {"WINDOW_MS": 500, "HIGH": 70000, "HOG": "/data/hog"},
                "uplink": {"TRY_ADDRESSES": f"127.0.0.1:8883 {CLOUD}:8884"},
                "device-controller": {"SILENT_MS": 4000, "ON_ALARM": 1},
                "firmware-updater": {"CONFIRM_MS": 8000, "TRY_ADDRESSES": f"127.0.0.1:8883 {CLOUD}:8884"},
            },
        }
        self.bundles = bundles.make(self.embrun, self.images, where)
        self.rules()
        self.sensor.start(self.sensor.feed)
        self.actuator.start(self.actuator.drain)
        self.listen()
        self.services()

    def network(self):
        """Connects the namespaces of the site and of the cloud."""
        sh(["mkdir", "-p", "/run/netns"])
        for command in (
            "link set lo up", "netns add cloud", "link add wan type veth peer name wan netns cloud",
            f"addr add {SITE}/24 dev wan", "link set wan up",
            f"-n cloud addr add {CLOUD}/24 dev wan", "-n cloud link set wan up", "-n cloud link set lo up",
        ):
            sh(["ip", *command.split()])

    def rules(self):
        """Lets each user reach only the addresses of its role."""
        uid = {role: bundle.uid for role, bundle in self.bundles.items()}
        assert len(set(uid.values())) == len(ROLES), f"roles share a user: {uid}"
        self.nft(f"""
            table inet gateway {{
                chain wan_out {{ }}
                chain wan_in {{ }}
                chain out {{
                    type filter hook output priority 0
                    oifname wan jump wan_out
                    meta skuid {{ {uid["uplink"]}, {uid["firmware-updater"]} }} ip daddr {CLOUD} tcp dport 8883 accept
                    meta skuid {{ {", ".join(map(str, uid.values()))} }} reject
                }}
                chain in {{
                    type filter hook input priority 0
                    iifname wan jump wan_in
                }}
            }}""")

    def nft(self, rules):
        sh(["nft", "-f", "-"], input=rules)

    def wan(self, rule):
        """Puts one rule on both directions of the link to the cloud, or none."""
        rules = "flush chain inet gateway wan_out\nflush chain inet gateway wan_in\n"
        if rule:
            rules += f"add rule inet gateway wan_out {rule}\nadd rule inet gateway wan_in {rule}\n"
        self.nft(rules)

    def brokers(self):
        """Starts the brokers of the site and of the cloud, with the topics of each role."""
        tls = lambda name: [f"cafile {self.certs}/ca.crt", f"certfile {self.certs}/{name}.crt", f"keyfile {self.certs}/{name}.key",
                            "require_certificate true", "use_identity_as_username true"]
        common = ["per_listener_settings true", "user root", "persistence false", "max_queued_messages 0", "log_type error",
                  "max_inflight_messages 100", "set_tcp_nodelay true"]
        rights = {
            "data-collector": ["readwrite sites/a/readings"],
            "data-processor": ["read sites/a/readings", "write sites/a/results", "write sites/a/alarms"],
            "uplink": [f"read sites/a/{k}" for k in ("readings", "results", "alarms", "done")] + ["write sites/a/commands"],
            "device-controller": [f"read sites/a/{k}" for k in ("commands", "alarms", "results")] + ["write sites/a/done"],
        }
        site = [*common, "listener 8883 127.0.0.1", *tls("site"), "allow_anonymous false"]
        for role, topics in rights.items():
            folder, acl = f"{self.dir}/run/{role}", f"{self.box}/{role}.acl"
            os.makedirs(folder, exist_ok=True)
            with open(acl, "w") as f:
                f.writelines(f"topic {t}\n" for t in [*topics, f"write sites/a/health/{role}"])
            site += [f"listener 0 {folder}/mqtt.sock", "allow_anonymous true", f"acl_file {acl}"]
        acl = f"{self.box}/cloud.acl"
        with open(acl, "w") as f:
            f.write("user operator\ntopic readwrite #\n")
            f.write("user uplink\n" + "".join(f"topic write sites/a/{k}\n" for k in ("readings", "results", "alarms", "done")))
            f.write("topic read sites/a/commands\n")
            f.write("user firmware-updater\ntopic read sites/a/firmware\ntopic read sites/a/results\ntopic read firmware/#\n"
                    "topic write sites/a/firmware/status\ntopic write sites/a/health/firmware-updater\n")
        cloud = [*common, f"listener 8883 {CLOUD}", *tls("cloud"), "allow_anonymous false", f"acl_file {acl}",
                 # For the roles that try to connect to another port.
                 f"listener 8884 {CLOUD}", "allow_anonymous false"]
        for name, lines, prefix in (("site", site, []), ("cloud", cloud, ["ip", "netns", "exec", "cloud"])):
            path = f"{self.box}/{name}.conf"
            with open(path, "w") as f:
                f.write("\n".join(lines) + "\n")
            log = open(f"{self.box}/{name}.log", "w")
            self.spawn([*prefix, "mosquitto", "-c", path], stdout=log, stderr=log)
        # The modes of the directories decide which role may connect, so each socket is open to all.
        for role in rights:
            socket = f"{self.dir}/run/{role}/mqtt.sock"
            eventually(f"{socket} exists", lambda: os.path.exists(socket))
            os.chmod(socket, 0o666)

    def spawn(self, command, **more):
        child = subprocess.Popen(command, **more)
        self.children.append(child)
        return child

    def client(self, where):
        """The prefix and the options of a client of mosquitto, as the operator."""
        address = {"site": "127.0.0.1", "cloud": CLOUD}[where]
        prefix = ["ip", "netns", "exec", "cloud"] if where == "cloud" else []
        tls = ["--cafile", f"{self.certs}/ca.crt", "--cert", f"{self.certs}/operator.crt", "--key", f"{self.certs}/operator.key"]
        return prefix, ["-h", address, "-p", "8883", *tls]

    def listen(self):
        """Records the messages of both brokers."""
        self.heard = {}
        for where in ("site", "cloud"):
            prefix, options = self.client(where)
            def connected():
                return subprocess.run([*prefix, "mosquitto_pub", *options, "-t", "ready", "-m", "1"], capture_output=True).returncode == 0
            eventually(f"the broker of the {where} listens", connected)
            listener = Listener([*prefix, "mosquitto_sub", *options, "-t", "sites/#", "-q", "1", "-v"])
            self.children.append(listener.process)
            self.heard[where] = listener

    def tool(self, where, *arguments, **env):
        """Runs gateway-tool with the broker of the site or of the cloud, and returns its output."""
        prefix, options = self.client(where)
        tls = {k: f"{self.certs}/{v}" for k, v in (("CA", "ca.crt"), ("CERT", "operator.crt"), ("KEY", "operator.key"))}
        return sh([*prefix, f"{self.images}/gateway-tool", *arguments], env={**os.environ, "BROKER": f"{options[1]}:8883", **tls, **env})

    def services(self):
        """Adds a line for each service to inittab, and makes init read it."""
        service = f"{self.top}/cross/init/embrun-service.sh"
        lines, notify = [], f"{self.box}/notify"
        with open(notify, "w") as f:
            f.write(f'#!/bin/sh\necho "$*" >> {self.box}/events\n')
        os.chmod(notify, 0o755)
        for role, bundle in self.bundles.items():
            with open(f"{bundle.dir}/service", "w") as f:
                f.write(f"RESTART=always\nNOTIFY={notify}\nLOG={self.dir}/{role}.log\nEMBRUN='{self.embrun} --root {self.state}'\n")
            lines.append(f"::respawn:/bin/busybox sh {service} run {bundle.dir}\n")
        with open("/etc/inittab", "a") as f:
            f.writelines(lines)
        os.kill(1, signal.SIGHUP)

    def run(self, *arguments):
        """A command of embrun, with its status."""
        return subprocess.run([self.embrun, "--root", self.state, *arguments], text=True, capture_output=True)

    def without_rights(self):
        """Runs `--try` in a container with all rights, to show that the check can fail."""
        source, lax = self.bundles["uplink"], f"{self.dir}/lax"
        config = json.loads(json.dumps(source.config))
        del config["linux"]["seccomp"]
        config["root"]["readonly"] = False
        config["linux"]["cgroupsPath"] = f"{self.cgroup}/lax"
        config["linux"]["resources"]["devices"] = [{"allow": True, "access": "rwm"}]
        config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
        status = open("/proc/self/status").read()
        allowed = int(status.split("CapBnd:")[1].split()[0], 16)
        names = ["CAP_" + n for n in CAPABILITIES.split()]
        held = [n for i, n in enumerate(names) if allowed >> i & 1]
        process = config["process"]
        process["capabilities"] = {k: held for k in ("bounding", "effective", "permitted")}
        process.update(user={"uid": 0, "gid": 0}, noNewPrivileges=False, args=["/uplink", "--try"])
        os.makedirs(lax, exist_ok=True)
        with open(f"{lax}/config.json", "w") as f:
            json.dump(config, f)
        return self.run("run", "--bundle", lax, "lax")

    def pid(self, role):
        """The pid of a running service, or None."""
        state = self.run("state", role)
        found = json.loads(state.stdout) if state.returncode == 0 else {}
        return found.get("pid") if found.get("status") == "running" else None

    def uptime(self):
        return time.monotonic() - self.began

    def events(self):
        """The starts and ends of services."""
        with open(f"{self.box}/events") as f:
            return f.read()

    def log(self, role):
        try:
            with open(f"{self.dir}/{role}.log") as f:
                return f.read()
        except FileNotFoundError:
            return ""


def main():
    with open(sys.argv[1]) as f:
        site = Site(json.load(f))
    os.environ["PATH"] = site.path + ":/usr/sbin:/sbin"
    status = 1
    try:
        site.start()
        status = checks.all_of(site)
    except subprocess.CalledProcessError as e:
        print(f"gateway: {e}\n{e.stdout}{e.stderr}", file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    if status:
        for role in ROLES:
            print(f"== {role}\n{site.log(role)[-1500:]}", file=sys.stderr)
        for name in ("site", "cloud"):
            with open(f"{site.box}/{name}.log") as f:
                print(f"== broker of the {name}\n{f.read()[-800:]}", file=sys.stderr)
    with open(f"{site.box}/status", "w") as f:
        f.write(f"{status}\n")
    sys.stdout.flush()
    for child in site.children:
        child.terminate()
    # Halt: init ends the services, then the namespaces.
    os.kill(1, signal.SIGUSR1)


main()
