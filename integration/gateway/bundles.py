#!/usr/bin/env python3
"""Makes the five bundles of a site: `embrun spec --role ROLE`, plus what is specific to the site.

usage: bundles.py EMBRUN IMAGES SITE.json

IMAGES has ROLE/rootfs for each role (rootfs-fixtures/gateway/build.sh). SITE.json says what the site has:
  dir       where the bundles, volumes and sockets are
  site      its name
  cloud     HOST:PORT of the cloud's broker
  certs     the folder with ROLE.crt and ROLE.key of those that connect to the cloud
  cgroup    the parent of the cgroups
  uid       the user of the first role; the others follow
  tty       host path of the serial line with the sensor; a pty is bound, because its node works only on devpts
  actuator  host path of the serial line, or of the GPIO chip, of the actuator
  raw, i2c, gpio   host paths of further sensors (optional)
  slots     host paths of the two slots
  foreign   host path of a device that no role may use (optional)
  env       more variables for a role: {ROLE: {NAME: VALUE}}
"""
import json, os, shutil, stat, subprocess, sys

ROLES = ["data-collector", "data-processor", "uplink", "device-controller", "firmware-updater"]


def device(path, inside, uid, access):
    """The device as an entry of linux.devices, and its rule."""
    status = os.stat(path)
    kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
    number = {"type": kind, "major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
    return {"path": inside, "fileMode": 0o600, "uid": uid, "gid": uid, **number}, {"allow": True, "access": access, **number}


class Bundle:
    """A role's configuration on its way from the template to the site's."""

    def __init__(self, embrun, images, role, site):
        self.role, self.site = role, site
        self.uid = site["uid"] + ROLES.index(role)
        self.dir = f"{site['dir']}/{role}"
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        subprocess.run([embrun, "spec", "--role", role, "--bundle", self.dir], check=True)
        with open(f"{self.dir}/config.json") as f:
            self.config = json.load(f)
        linux, process = self.config["linux"], self.config["process"]
        self.config["root"]["path"] = f"{images}/{role}/rootfs"
        linux["cgroupsPath"] = f"{site['cgroup']}/{role}"
        process["user"] = {"uid": self.uid, "gid": self.uid}
        self.env(SITE=site["site"], **site.get("env", {}).get(role, {}))
        # The template's devices are examples.
        linux["devices"], linux["resources"]["devices"] = [], [{"allow": False, "access": "rwm"}]
        self.volumes()
        self.extra()
        with open(f"{self.dir}/config.json", "w") as f:
            json.dump(self.config, f, indent=1)

    def env(self, **variables):
        self.config["process"]["env"] += [f"{k}={v}" for k, v in variables.items()]

    def volumes(self):
        """Its own socket directory, which it cannot change, and its own volume."""
        for mount in self.config["mounts"]:
            if mount["destination"] == "/run/gateway":
                mount["source"] = self.folder(f"run/{self.role}", 0, 0o750)
                mount["options"].append("ro")
            elif mount["destination"] == "/data":
                mount["source"] = self.folder(f"data/{self.role}", self.uid, 0o700)

    def folder(self, name, owner, mode):
        path = f"{self.site['dir']}/{name}"
        os.makedirs(path, exist_ok=True)
        os.chown(path, owner, self.uid)
        os.chmod(path, mode)
        return path

    def add_device(self, path, inside, access):
        node, rule = device(path, inside, self.uid, access)
        self.config["linux"]["devices"].append(node)
        self.config["linux"]["resources"]["devices"].append(rule)

    def add_line(self, path, inside, access):
        """A serial line; a pty is bound with its devpts."""
        if not path.startswith("/dev/pts/"):
            return self.add_device(path, inside, access)
        _, rule = device(path, inside, self.uid, access)
        os.chown(path, self.uid, self.uid)
        self.config["linux"]["resources"]["devices"].append(rule)
        mount = {"destination": inside, "type": "bind", "source": path, "options": ["bind", "nosuid", "noexec"]}
        self.config["mounts"].append(mount)

    def tls(self):
        for kind in ("crt", "key"):
            path = f"{self.site['dir']}/run/{self.role}/tls.{kind}"
            shutil.copy(f"{self.site['certs']}/{self.role}.{kind}", path)
            os.chown(path, 0, self.uid)
            os.chmod(path, 0o640)
        self.env(CLOUD=self.site["cloud"], CA="/etc/gateway/ca.crt", CERT="/run/gateway/tls.crt", KEY="/run/gateway/tls.key")

    def extra(self):
        site, broker = self.site, "unix:/run/gateway/mqtt.sock"
        if self.role != "firmware-updater":
            self.env(BROKER=broker)
        if self.role == "data-collector":
            self.env(SERIAL="/dev/sensor")
            self.add_line(site["tty"], "/dev/sensor", "r")
            for name, inside in (("raw", "/dev/iio0"), ("i2c", "/dev/i2c"), ("gpio", "/dev/gpiochip")):
                if name in site:
                    self.env(**{name.upper(): inside})
                    self.add_device(site[name], inside, "r")
        elif self.role == "device-controller":
            inside = "/dev/gpiochip" if "gpiochip" in site["actuator"] else "/dev/actuator"
            self.env(ACTUATOR=inside)
            self.add_line(site["actuator"], inside, "rw")
        elif self.role == "uplink":
            self.tls()
        elif self.role == "firmware-updater":
            self.tls()
            for name, path in zip("ab", site["slots"]):
                self.env(**{f"SLOT_{name.upper()}": f"/dev/slot-{name}"})
                self.add_device(path, f"/dev/slot-{name}", "rw")
        if "foreign" in site:
            # The node without the right, so that `--try` meets the rules of the cgroup and not only a missing file.
            node, _ = device(site["foreign"], "/dev/foreign", self.uid, "rw")
            self.config["linux"]["devices"].append(node)
            self.env(TRY_DEVICES="/dev/foreign")
        self.env(TRY_PATHS=" ".join(f"{site['dir']}/data/{role} /proc/1/root{site['dir']}/data/{role}"
                                    for role in ROLES if role != self.role))


def make(embrun, images, site):
    return {role: Bundle(embrun, images, role, site) for role in ROLES}


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[3]) as f:
        make(sys.argv[1], sys.argv[2], json.load(f))
