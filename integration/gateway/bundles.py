#!/usr/bin/env python3
"""Makes the five bundles of a site: `embrun spec --role ROLE --device ...`, plus what is specific to the site.

usage: bundles.py EMBRUN IMAGES SITE.json

IMAGES has ROLE/rootfs for each role (rootfs-fixtures/gateway/build.sh). SITE.json says what the site has:
  dir       where the bundles, volumes and sockets are
  site      its name
  cloud     HOST:PORT of the cloud's broker
  certs     the folder with ROLE.crt and ROLE.key of those that connect to the cloud
  cgroup    the parent of the cgroups
  users     {ROLE: "UID:GID"} for roles that must not have the user of their template (optional)
  tty       host path of the serial line with the sensor
  actuator  host path of the serial line, or of the GPIO chip, of the actuator
  raw, i2c, gpio   host paths of further sensors (optional)
  slots     host paths of the two slots
  foreign   host path of a device that no role may use (optional)
  env       more variables for a role: {ROLE: {NAME: VALUE}}
"""
import json, os, shutil, subprocess, sys

ROLES = ["data-collector", "data-processor", "uplink", "device-controller", "firmware-updater"]
BROKER = "unix:/run/gateway/mqtt.sock"


class Bundle:
    """A role's configuration on its way from the template to the site's."""

    def __init__(self, embrun, folder, role, devices=(), user=None):
        self.role, self.dir = role, str(folder)
        options = [word for device in devices for word in ("--device", device)] + (["--user", user] if user else [])
        subprocess.run([embrun, "spec", "--role", role, "--bundle", self.dir, *options], check=True)
        with open(f"{self.dir}/config.json") as f:
            self.config = json.load(f)
        self.uid = self.config["process"]["user"]["uid"]
        if role != "firmware-updater":
            self.env(BROKER=BROKER)

    def env(self, **variables):
        self.config["process"]["env"] += [f"{k}={v}" for k, v in variables.items()]

    def cloud(self, address, keys, name):
        """How it connects to the cloud, with the files NAME.crt and NAME.key."""
        self.env(CLOUD=address, CA="/etc/gateway/ca.crt", CERT=f"{keys}/{name}.crt", KEY=f"{keys}/{name}.key")

    def mount(self, destination):
        return next((m for m in self.config["mounts"] if m["destination"] == destination), None)

    def write(self):
        with open(f"{self.dir}/config.json", "w") as f:
            json.dump(self.config, f, indent=1)


class SiteBundle(Bundle):
    """The same for the machine that makes it."""

    def __init__(self, embrun, images, role, site):
        self.site, folder = site, f"{site['dir']}/{role}"
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        devices = self.devices(role)
        # The node without the right, so that `--try` meets the rules of the cgroup and not only a missing file.
        foreign = [f"{site['foreign']}:/dev/foreign"] if "foreign" in site else []
        options = [f"{host}:{inside}" for _, host, inside in devices]
        super().__init__(embrun, folder, role, options + foreign, site.get("users", {}).get(role))
        if foreign:
            self.config["linux"]["resources"]["devices"].pop()
            self.env(TRY_DEVICES="/dev/foreign")
        for name, host, inside in devices:
            self.env(**{name: inside})
            # A pty is bound, so it keeps its owner.
            if host.startswith("/dev/pts/"):
                os.chown(host, self.uid, self.uid)
        self.config["root"]["path"] = f"{images}/{role}/rootfs"
        self.config["linux"]["cgroupsPath"] = f"{site['cgroup']}/{role}"
        self.env(SITE=site["site"], **site.get("env", {}).get(role, {}))
        self.volumes()
        if role in ("uplink", "firmware-updater"):
            self.tls()
        self.env(TRY_PATHS=" ".join(f"{site['dir']}/data/{other} /proc/1/root{site['dir']}/data/{other}"
                                    for other in ROLES if other != role))
        self.write()

    def devices(self, role):
        """The variable, the path on the host and the path inside of each device."""
        site = self.site
        if role == "data-collector":
            inside = {"tty": "/dev/sensor", "raw": "/dev/iio0", "i2c": "/dev/i2c", "gpio": "/dev/gpiochip"}
            return [("SERIAL" if key == "tty" else key.upper(), site[key], path) for key, path in inside.items() if key in site]
        if role == "device-controller":
            return [("ACTUATOR", site["actuator"], "/dev/gpiochip" if "gpiochip" in site["actuator"] else "/dev/actuator")]
        if role == "firmware-updater":
            return [(f"SLOT_{name.upper()}", path, f"/dev/slot-{name}") for name, path in zip("ab", site["slots"])]
        return []

    def volumes(self):
        """Its own folder of sockets and keys, which it cannot change, and its own volume."""
        self.mount("/run/gateway")["source"] = self.folder("run", 0, 0o750)
        data = self.mount("/data")
        if data:
            data["source"] = self.folder("data", self.uid, 0o700)

    def folder(self, name, owner, mode):
        path = f"{self.site['dir']}/{name}/{self.role}"
        os.makedirs(path, exist_ok=True)
        os.chown(path, owner, self.uid)
        os.chmod(path, mode)
        return path

    def tls(self):
        for kind in ("crt", "key"):
            path = f"{self.site['dir']}/run/{self.role}/tls.{kind}"
            shutil.copy(f"{self.site['certs']}/{self.role}.{kind}", path)
            os.chown(path, 0, self.uid)
            os.chmod(path, 0o640)
        self.cloud(self.site["cloud"], "/run/gateway", "tls")


def make(embrun, images, site):
    return {role: SiteBundle(embrun, images, role, site) for role in ROLES}


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    with open(sys.argv[3]) as f:
        make(sys.argv[1], sys.argv[2], json.load(f))
