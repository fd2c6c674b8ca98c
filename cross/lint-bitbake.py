#!/usr/bin/env python3
"""Lets BitBake itself parse the recipe, fetch its sources and unpack them.

usage: cross/lint-bitbake.py EMPTY-FOLDER      (called by cross/lint.py in an environment with bitbake-setup)

CORE has the few lines of OpenEmbedded's core that the recipe needs. The crates come from cargo's own downloads and must have the
checksums of the recipe; cargo must then resolve them without a network. Each check prints `ok NAME`; the first that fails raises.
"""
import glob, os, re, shutil, subprocess, sys, types

# The package lacks the client of the hash server, which only real builds use.
for name in ("hashserv", "hashserv.client"):
    sys.modules[name] = types.ModuleType(name)
import bb, bb.data, bb.data_smart, bb.event, bb.fetch2, bb.parse, bb.process

here = os.path.dirname(os.path.abspath(__file__))
top = os.path.dirname(here)
box = os.path.realpath(sys.argv[1])
CORE = {
    "conf/bitbake.conf": """
WORKDIR = "${TOPDIR}/work"
D = "${WORKDIR}/image"
DL_DIR = "${TOPDIR}/downloads"
PERSISTENT_DIR = "${TOPDIR}"
PN = "${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[0]}"
PV = "${@bb.parse.vars_from_file(d.getVar('FILE', False), d)[1]}"
BPN = "${PN}"
BP = "${BPN}-${PV}"
prefix = "/usr"
bindir = "/usr/bin"
datadir = "/usr/share"
sysconfdir = "/etc"
PROVIDES = "${PN}"
PACKAGES = "${PN}-dbg ${PN}"
FILES:${PN} = "${bindir}/* ${datadir}/${BPN} ${sysconfdir}"
SRC_URI = ""
OVERRIDES = "pn-${PN}"
AUTOREV = "${@bb.fetch2.get_autorev(d)}"
""",
    "classes-global/base.bbclass": "",
    "classes-recipe/cargo.bbclass": """
CARGO_BUILD_FLAGS = "--frozen"
cargo_do_install() {
    install -D -m 0755 ${TOPDIR}/built ${D}${bindir}/embrun
}
EXPORT_FUNCTIONS do_install
""",
    "classes-recipe/cargo-update-recipe-crates.bbclass": "",
    "linux-yocto_6.12.bb": 'SRC_URI = "git://kernel.invalid/linux"\n',
}


def shown(what, holds, why=None):
    if not holds:
        raise AssertionError("%s: %s" % (what, why))
    print("ok " + what, flush=True)


def parse(pattern, **settings):
    """Parses the recipe that a pattern of BBFILES finds, with settings as in local.conf."""
    for name, text in CORE.items():
        path = os.path.join(box, "core", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "w").write(text)
    d = bb.data.init()
    bb.parse.init_parser(d)
    d.setVar("TOPDIR", box)
    d.setVar("BBPATH", box + "/core")
    d.setVar("LAYERDIR", here + "/yocto")
    d.setVar("PATH", os.environ["PATH"])
    d.setVar("BB_ENV_PASSTHROUGH", "PATH HOME")
    d = bb.parse.handle("conf/bitbake.conf", d, True)
    d = bb.parse.handle(here + "/yocto/conf/layer.conf", d, True)
    d.expandVarref("LAYERDIR")
    for name, value in settings.items():
        d.setVar(name, value)
    found = [f for files in d.getVar("BBFILES").split() + [box + "/core/*.bb"] for f in glob.glob(files)]
    recipe, = (f for f in found if f.endswith(".bb") and pattern in os.path.basename(f))
    # BitBake's cooker does the same for each recipe.
    d.setVar("__BBAPPEND", " ".join(f for f in found if f.endswith(".bbappend") and pattern in os.path.basename(f)))
    d.setVar("__bbclasstype", "global")
    bb.parse.handle("classes-global/base.bbclass", d, True)
    d.setVar("__bbclasstype", "recipe")
    return bb.parse.handle(recipe, d)[""]


def fetch(d, name):
    """Fetches every source of the recipe with BitBake's fetchers. The crates are already in its download folder, as after a build."""
    subprocess.run(["cargo", "fetch", "-q", "--locked"], cwd=top, check=True)
    os.makedirs(box + "/downloads", exist_ok=True)
    for crate in glob.glob(os.path.join(os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo"), "registry/cache/*/*.crate")):
        if not os.path.exists(box + "/downloads/" + os.path.basename(crate)):
            shutil.copy(crate, box + "/downloads/")
    # Only crates would need a network, and all of Cargo.lock are there, so a download means that the recipe's list is wrong.
    d.setVar("BB_ALLOWED_NETWORKS", "nowhere.invalid")
    bb.fetch2.get_hashvalue(d)  # as OpenEmbedded's base class does; otherwise AUTOREV is refused
    fetcher = bb.fetch2.Fetch(d.getVar("SRC_URI").split(), d)
    fetcher.download()
    shown("%s: fetches every source, %d crates with their checksums" % (name, len(fetcher.urls) - 1), len(fetcher.urls) > 5)
    shutil.rmtree(d.getVar("UNPACKDIR"), ignore_errors=True)
    fetcher.unpack(d.getVar("UNPACKDIR"))
    return d.getVar("S")


def builds_alone(source, name):
    """Checks that cargo resolves the whole lock file from the unpacked crates, without a network."""
    crates, = glob.glob(box + "/work/**/cargo_home/bitbake", recursive=True)
    config = box + "/cargo"
    os.makedirs(config, exist_ok=True)
    open(config + "/config.toml", "w").write(
        '[source.crates-io]\nreplace-with = "bitbake"\n[source.bitbake]\ndirectory = "%s"\n' % crates)
    done = subprocess.run(["cargo", "metadata", "--frozen", "--format-version", "1", "--manifest-path", source + "/Cargo.toml"],
                          env={**os.environ, "CARGO_HOME": config}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    shown(name + ": cargo needs only the unpacked crates", done.returncode == 0, done.stderr)


def install(d, name):
    open(box + "/built", "w").write("a binary")
    script = "set -e\n" + "".join("%s() {\n%s\n}\n" % (f, d.getVar(f)) for f in ("cargo_do_install", "do_install"))
    subprocess.run(["sh", "-c", script + "do_install"], check=True)
    image, source = d.getVar("D"), d.getVar("S")
    files = {os.path.relpath(os.path.join(at, name), image) for at, _, names in os.walk(image) for name in names}
    profiles = {"usr/share/embrun/seccomp-profiles/" + os.path.basename(p) for p in glob.glob(source + "/seccomp-profiles/*.json")}
    dropins = {"usr/share/embrun/dropins/" + os.path.basename(p) for p in glob.glob(source + "/cross/dropins/*")}
    dropins |= {"etc/containers/containers.conf.d/50-embrun.conf", "etc/crio/crio.conf.d/50-embrun.conf"}
    manual = {p for p in files if p.startswith("usr/share/man/man8/embrun")}
    completions = {"usr/share/" + p for p in ("bash-completion/completions/embrun", "zsh/site-functions/_embrun",
                                              "fish/vendor_completions.d/embrun.fish")}
    texts = profiles | dropins | manual | completions
    shown(name + ": installs exactly embrun, runc, profiles, drop-ins, manual and completions",
          files == texts | {"usr/bin/embrun", "usr/bin/runc"} and "usr/share/man/man8/embrun-run.8" in manual
          and os.path.realpath(image + "/usr/bin/runc") == image + "/usr/bin/embrun"
          and all(os.stat(os.path.join(image, p)).st_mode & 0o777 == 0o644 for p in texts), files)
    # Each file goes to the first package of PACKAGES that names it or a folder above it.
    owner = lambda file: next(p for p in d.getVar("PACKAGES").split() for f in (d.getVar("FILES:" + p) or "").split()
                              if re.fullmatch(re.escape(f).replace(r"\*", "[^/]*") + "(/.*)?", "/" + file))
    shown(name + ": each package has its files", {owner(f) for f in dropins} == {"embrun-dropins"} and owner("usr/bin/runc") == "embrun-runc"
          and {owner(f) for f in completions} == {"embrun-completion"}
          and {owner(f) for f in profiles | {"usr/bin/embrun"}} == {"embrun"})
    shutil.rmtree(image)


d = parse("embrun_")
shown("parses the layer and the recipe", d.getVar("PV").endswith("+git") and d.getVar("S").endswith("embrun-" + d.getVar("PV")), d.getVar("S"))
shown("sets 64-bit time for musl", "libc_unstable_musl_v1_2" in d.getVar("RUSTFLAGS"))
shown("provides virtual/runc", "virtual/runc" in d.getVar("PROVIDES").split())
packages = d.getVar("PACKAGES").split()
shown("embrun-runc comes before embrun, and is virtual-runc", packages.index("embrun-runc") < packages.index("embrun")
      and "virtual-runc" in d.getVar("RPROVIDES:embrun-runc").split() and d.getVar("RDEPENDS:embrun-runc") == "embrun")
shown("embrun-runc conflicts with runc and crun, embrun-dropins with nothing", not d.getVar("RCONFLICTS:embrun-dropins")
      and {"runc", "crun"} <= set(d.getVar("RCONFLICTS:embrun-runc").split()))
home = re.search(r'^homepage = "(.+)"', open(top + "/Cargo.toml").read(), re.M)[1]
shown("has the home page of Cargo.toml, a bug tracker there, and a CVE product", d.getVar("HOMEPAGE") == home
      and d.getVar("BUGTRACKER").startswith(home) and d.getVar("CVE_PRODUCT") == "embrun")
fixed = d.getVar("SRCREV")
git = lambda *words: subprocess.run(["git", "-C", top, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
shown("SRCREV is a commit", re.fullmatch("[0-9a-f]{40}", fixed), fixed)
sources = [("AUTOREV", parse("embrun_", **{"SRCREV:pn-embrun": "${AUTOREV}"}))]
if git("cat-file", "-e", fixed).returncode == 0:
    shown("SRCREV is a commit of this tree", git("merge-base", "--is-ancestor", fixed, "HEAD").returncode == 0, fixed)
    sources.append(("SRCREV", d))
else:
    # A clone with `--depth` has only the last commits.
    print("left out: the build of SRCREV, because this clone lacks that commit: " + fixed)
for name, d in sources:
    source = fetch(d, name)
    head = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], stdout=subprocess.PIPE, text=True).stdout.strip()
    last = git("rev-parse", "HEAD").stdout.strip()
    shown(name + ": unpacks its commit into S", head == (fixed if name == "SRCREV" else last), head)
    licence, md5 = d.getVar("LIC_FILES_CHKSUM").removeprefix("file://").split(";md5=")
    shown(name + ": has the checksum of the licence", bb.utils.md5_file(os.path.join(source, licence)) == md5)
    builds_alone(source, name)
    install(d, name)
for feature, wanted in (("", False), ("embrun", True)):
    d = parse("linux-yocto_", DISTRO_FEATURES=feature)
    uris = d.getVar("SRC_URI").split()
    shown("the kernel gets the fragment only with the feature: %r" % feature, ("file://embrun.cfg" in uris) == wanted
          and (not wanted or os.path.exists(d.getVar("FILESEXTRAPATHS").split(":")[0] + "/embrun.cfg")), uris)
