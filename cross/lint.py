#!/usr/bin/env python3
"""Checks the files for image builders and engines, each with the tool that reads it in practice.

usage: cross/lint.py [--allow-missing N]

  Yocto        oelint-adv; BitBake itself parses, fetches and unpacks the recipe (cross/lint-bitbake.py)
  Buildroot    kconfiglib reads Config.in, make runs the packages, cargo builds in Buildroot's environment (cross/lint-buildroot.py)
  drop-ins     podman, containerd 1 and 2 and dockerd read theirs; CRI-O is in no package, so its file is only parsed as TOML
  kernel       Debian's kernels know every option of the table; cross/kernel/check.sh reports missing ones by group
  indexes      a package index that cannot be fetched is not mistaken for an empty one
  proof        cross/proof.sh accepts nothing that is not a release
  bills        each CycloneDX bill of `make release` matches the schema, the binary and Cargo.lock

The Python tools (cross/lint-tools.txt) and the files of Debian's packages are kept in ~/.cache/embrun/lint. A tool that cannot be
fetched is reported and counted. The script fails on a fault, or if more than N tools (default: 0) are missing.
"""
import glob, hashlib, json, os, re, struct, subprocess, sys, tempfile, tomllib

here = os.path.dirname(os.path.abspath(__file__))
top = os.path.dirname(here)
cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ["HOME"], ".cache"), "embrun", "lint")
python = os.path.join(cache, "venv/bin/python3")
checked, faults, missing = 0, [], []


def check(what, holds, why=""):
    global checked
    checked += 1
    print("%-66s %s" % (what, "ok" if holds else "FAULT " + why))
    if not holds:
        faults.append(what)


def lacks(what, why):
    print("%-66s NOT CHECKED: %s" % (what, why))
    missing.append(what)


def run(*command, **more):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
        return done.returncode, done.stdout
    except FileNotFoundError:
        return 127, command[0] + " is not installed"


def read(name):
    with open(os.path.join(here, name)) as f:
        return f.read()


def tools():
    """Installs the Python tools in a virtual environment. Each check that needs a missing one reports it."""
    wanted = read("lint-tools.txt")
    stamp = os.path.join(cache, "venv/tools.txt")
    if os.path.exists(stamp) and open(stamp).read() == wanted:
        return
    status, out = run(sys.executable, "-m", "venv", "--clear", os.path.join(cache, "venv"))
    if status == 0:
        status, out = run(python, "-m", "pip", "install", "-q", "-r", os.path.join(here, "lint-tools.txt"))
    if status == 0:
        open(stamp, "w").write(wanted)
    else:
        print("cannot install the Python tools: " + out.strip().split("\n")[-1])


def has_tool(module):
    return run(python, "-c", "import " + module)[0] == 0


def package(arch, suite, name, member):
    """A file of a Debian package, which is unpacked and not installed. None if it cannot be fetched."""
    box = os.path.join(cache, "%s-%s-%s" % (name, suite, arch))
    if not glob.glob(os.path.join(box, member)):
        run("bash", "-c", '. "$1"; rm -rf "$2"; apt_fetch "$3" "$4" "$2" "$5" && dpkg -x "$2"/*.deb "$2" && rm "$2"/*.deb',
            "sh", here + "/common.sh", box, arch, suite, name)
    return (glob.glob(os.path.join(box, member)) or [None])[0]


def versions():
    version, home = (re.search(r'^%s = "(.+)"' % key, open(top + "/Cargo.toml").read(), re.M)[1] for key in ("version", "homepage"))
    check("Config.in has the home page of Cargo.toml", "\n\n\t  %s\n" % home in read("buildroot/package/embrun/Config.in"))
    check("the recipe has the crate's version", os.path.exists(here + "/yocto/recipes-containers/embrun/embrun_%s.bb" % version))


def yocto():
    recipe = here + "/yocto/recipes-containers/embrun/"
    status, out = run(here + "/crates.py", "--check")
    check("the lists of crates match Cargo.lock", status == 0, out)
    oelint = os.path.join(cache, "venv/bin/oelint-adv")
    if os.path.exists(oelint):
        # No other recipe needs embrun to build, so it has no native variant. The home page is a reserved name until there is one.
        status, out = run(oelint, "--quiet", "--release=whinlatter", "--suppress=oelint.var.bbclassextend", "--suppress=oelint.vars.homepageping",
                          *glob.glob(recipe + "*.bb"), *glob.glob(recipe + "*.inc"),
                          *glob.glob(here + "/yocto/recipes-kernel/*/*.bbappend"))
        check("oelint-adv: the recipe and its crates", status == 0, "\n" + out)
    else:
        lacks("oelint-adv: the recipe and its crates", "oelint-adv")
    if not has_tool("bb"):
        return lacks("BitBake: the recipe", "bitbake-setup")
    lines_of("lint-bitbake.py", "BitBake")


def lines_of(script, title):
    """Runs a checker in the virtual environment, in an empty folder. Each check that holds prints a line; the first fault ends it."""
    with tempfile.TemporaryDirectory() as box:
        status, out = run(python, here + "/" + script, box, env={**os.environ, "GIT_CONFIG_COUNT": "1",
                          "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"})
    for line in out.splitlines():
        if line.startswith("ok "):
            check(title + ": " + line[3:], True)
    check(title + ": passes all checks", status == 0, "\n" + "\n".join(out.splitlines()[-12:]))


def buildroot():
    if has_tool("kconfiglib"):
        lines_of("lint-buildroot.py", "Buildroot")
    else:
        lacks("Buildroot: the packages", "kconfiglib")


def within(wanted, known, path=""):
    """The paths of `wanted` that `known` lacks or gives another value."""
    if not isinstance(wanted, dict):
        return [] if wanted == known else [path]
    return [p for k, v in wanted.items() for p in within(v, known.get(k) if isinstance(known, dict) else None, path + "/" + k)]


def containerd(name, program, cri):
    """Lets containerd read its drop-in. It adds defaults to each runtime, which shows that it knows the table."""
    status, out = run(program, "--config", here + "/dropins/" + name, "config", "dump")
    if status != 0:
        return check(name, False, out)
    dump = tomllib.loads(out[out.index("disabled_plugins"):])
    wanted = tomllib.loads(read("dropins/" + name))
    lost = within({"plugins": wanted["plugins"]}, dump)
    found = dump["plugins"].get(cri, {}).get("containerd", {}).get("runtimes", {})
    check("containerd %s: %s" % (run(program, "--version")[1].split()[2], name), not lost
          and {name: runtime["options"]["SystemdCgroup"] for name, runtime in found.items() if "embrun" in name
               and "privileged_without_host_devices" in runtime} == {"embrun": False, "embrun-systemd": True}, "lost " + " ".join(lost))


def dropins():
    d = here + "/dropins/"
    conf = tomllib.loads(read("dropins/containers.conf"))
    check("containers.conf: names its default runtime", conf["engine"]["runtime"] in conf["engine"]["runtimes"])
    with tempfile.TemporaryDirectory() as box:
        # A fake runtime that podman can only find through the drop-in.
        there = box + "/embrun"
        open(there, "w").write("#!/bin/sh\necho embrun version test\n")
        os.chmod(there, 0o755)
        open(box + "/containers.conf", "w").write(read("dropins/containers.conf").replace("/usr/bin/embrun", there))
        status, out = run("podman", "--root", box + "/root", "--runroot", box + "/run", "--tmpdir", box + "/tmp", "--storage-driver", "vfs",
                          "info", "--format", "{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}",
                          env={**os.environ, "CONTAINERS_CONF": box + "/containers.conf"})
        if status == 127:
            lacks("podman: containers.conf", out)
        else:
            check("podman: containers.conf", "embrun " + there in out, out)
    for name, arch_suite, cri in (("containerd-1.toml", "bookworm", "io.containerd.grpc.v1.cri"), ("containerd-2.toml", "sid", "io.containerd.cri.v1.runtime")):
        program = package(host, arch_suite, "containerd", "usr/bin/containerd")
        if program:
            containerd(name, program, cri)
        else:
            lacks("containerd: " + name, "containerd of " + arch_suite)
    # bookworm's docker has no --validate yet.
    dockerd = package(host, "trixie", "docker.io", "usr/sbin/dockerd")
    if dockerd:
        ask = [dockerd, "--validate", "--userland-proxy=false", "--config-file"]
        status, out = run(*ask, d + "docker-daemon.json")
        check("dockerd: docker-daemon.json", status == 0 and "configuration OK" in out, out)
    else:
        lacks("dockerd: docker-daemon.json", "docker.io of trixie")
    crio = tomllib.loads(read("dropins/crio.conf"))["crio"]["runtime"]
    check("crio.conf: names its default runtime, and permits containers of less than 12 MiB", crio["default_runtime"] in crio["runtimes"]
          and re.fullmatch("[0-9]+KiB", crio["runtimes"]["embrun"]["container_min_memory"]))


def kernel():
    script = here + "/kernel/check.sh"
    table = [re.split("  +", line) for line in read("kernel/options").split("\n") if line and line[0] != "#"]
    wanted = ["CONFIG_" + row[0] for row in table]
    groups = list(dict.fromkeys(row[1] for row in table))
    check("kernel/options: five columns, each option once, groups together",
          all(len(row) == 5 for row in table) and len(wanted) == len(set(wanted))
          and [row[1] for row in table] == sorted((row[1] for row in table), key=groups.index))
    check("embrun.cfg: is the table's (else: cross/kernel/check.sh --fragment > cross/kernel/embrun.cfg)",
          run(script, "--fragment")[1] == read("kernel/embrun.cfg"))
    check("kernel/check.sh: prints the fragment of one group", re.findall(r"^CONFIG_\w+", run(script, "--fragment", "userns")[1], re.M)
          == ["CONFIG_" + row[0] for row in table if row[1] == "userns"])
    # Options that not every kernel knows: since a version, or only on some architectures.
    partial = ["CONFIG_" + row[0] for row in table if row[2] != "all"]
    v1 = ["CONFIG_MEMCG_V1", "CONFIG_CPUSETS_V1"]
    for arch, suite, version, flavour in (("amd64", "trixie", "6.12", "amd64"), ("arm64", "bookworm", "6.1", "arm64"), ("armhf", "bookworm", "6.1", "armmp")):
        name = "linux-config-" + version
        config = package(arch, suite, name, "usr/src/%s/config.%s_none_%s.xz" % (name, arch, flavour))
        if not config:
            lacks("kernel/options: Debian's %s %s" % (version, flavour), name + " for " + arch)
            continue
        text = run("xzcat", config)[1]
        unknown = [o for o in wanted if not re.search(o + r"\b", text) and o not in partial]
        check("kernel/options: Debian's %s for %s knows each" % (version, flavour), not unknown, " ".join(unknown))
        status, out = run(script, config)
        # Debian's newer kernels do not enable the options of cgroup v1.
        lacking = [] if version == "6.1" else v1
        missing_of = lambda out: re.findall(r"^(\w+): |^  (\w+) is missing: ", out, re.M)
        report = lambda less: [found for group in groups for found in [(group, "")] + [("", o) for o in wanted if o in less
                               and table[wanted.index(o)][1] == group]]
        check("kernel/check.sh: Debian's %s for %s lacks %s" % (version, flavour, "cgroup v1's" if lacking else "nothing"),
              status == 0 and missing_of(out) == report(lacking), out)
        for less, code in ((["CONFIG_PID_NS"], 1), (["CONFIG_UNIX"], 1), (["CONFIG_MEMCG", "CONFIG_VETH", "CONFIG_SECURITY_SELINUX"], 0)):
            with tempfile.NamedTemporaryFile("w", suffix=".config") as file:
                file.write(re.sub("^(%s)=[ym]$" % "|".join(less), r"# \1 is not set", text, flags=re.M))
                file.flush()
                status, out = run(script, file.name)
            check("kernel/check.sh: without %s it exits with %d" % (less[0], code), status == code
                  and missing_of(out) == report(less + lacking), out)
    check("kernel/check.sh: refuses a file that is not a configuration", run(script, here + "/lint.py")[0] == 2)


def indexes():
    """apt_root and apt_fetch of cross/common.sh handle an index that cannot be fetched, and one that is out of date."""
    apt = lambda script, box: run("bash", "-c", '. "$1"; box=$2; mirror_of() { echo http://127.0.0.1:1/debian; }; ' + script,
                                  "sh", here + "/common.sh", box, env={**os.environ, "XDG_CACHE_HOME": box})
    with tempfile.TemporaryDirectory() as box:
        status, out = apt('! (apt_root sid amd64) && [ ! -e "$cache/apt/sid-amd64/ready" ]', box)
        check("apt_root: fails if an index cannot be fetched", status == 0, out)
    # This apt-get has the package only after an update.
    old = """
apt-get() { case $* in *update*) echo >> "$box/updates";; *) [ -e "$box/updates" ] && : > embrun_2_all.deb;; esac; }
mkdir -p "$cache/apt/sid-amd64" "$box/debs"; : > "$cache/apt/sid-amd64/ready"; : > "$box/debs/embrun_1_all.deb"
apt_fetch amd64 sid "$box/debs" embrun && apt_fetch amd64 sid "$box/debs" embrun && [ "$(cd "$box/debs"; echo *)$(wc -l < "$box/updates")" = embrun_2_all.deb1 ]"""
    with tempfile.TemporaryDirectory() as box:
        status, out = apt(old, box)
        check("apt_fetch: fetches an outdated index again, once", status == 0, out)


def an_elf(machine, bits, align):
    """A static program with one LOAD segment and a .text section, which is enough for readelf."""
    half, wide = "<", "Q" if bits == 64 else "I"
    ehsize, phsize, shsize = (64, 56, 64) if bits == 64 else (52, 32, 40)
    names = b"\0.text\0.shstrtab\0"
    where = ehsize + 2 * phsize
    head = b"\x7fELF" + bytes((bits // 32, 1, 1)) + bytes(9) + struct.pack(
        half + "HHI" + 3 * wide + "IHHHHHH", 2, machine, 1, align, ehsize, where + len(names), 0, ehsize, phsize, 2, shsize, 3, 2)

    def segment(kind, flags, at, size, align):
        if bits == 64:
            return struct.pack("<IIQQQQQQ", kind, flags, 0, at, at, size, size, align)
        return struct.pack("<IIIIIIII", kind, 0, at, at, size, size, flags, align)

    def section(name, kind, flags, offset, size):
        return struct.pack(half + "II" + 4 * wide + "II" + 2 * wide, name, kind, flags, 0, offset, size, 0, 0, 1, 0)
    return (head + segment(1, 5, align, where, align) + segment(0x6474E551, 6, 0, 0, 16) + names + section(0, 0, 0, 0, 0)
            + section(1, 1, 6, 0, where) + section(7, 3, 0, where, len(names)))


def proof():
    """cross/proof.sh refuses files that it cannot read, and programs that are not fit for a release."""
    script = here + "/proof.sh"
    status, out = run(script, "/bin/sh")
    check("proof: refuses a program with an interpreter and libraries", status == 1 and "interpreter" in out and "shared library" in out, out)
    with tempfile.TemporaryDirectory() as box:
        for name, does in (("fails", "exit 1"), ("says nothing", "exit 0")):
            open(box + "/readelf", "w").write("#!/bin/sh\n" + does + "\n")
            os.chmod(box + "/readelf", 0o755)
            status, out = run(script, "/bin/sh", env={**os.environ, "PATH": box + ":" + os.environ["PATH"]})
            check("proof: fails if readelf " + name, status == 1 and "cannot read" in out, out)
        # One program for each architecture and alignment: only ARM has kernels with larger pages.
        for machine, bits in ((183, 64), (40, 32), (62, 64), (243, 64)):
            for align in (0x1000, 0x4000, 0x10000, 0x200000):
                open(box + "/elf", "wb").write(an_elf(machine, bits, align))
                reported = "aligned to %d bytes" % align in run(script, box + "/elf")[1]
                check("proof: machine %d, a segment aligned to %#x" % (machine, align), reported == (machine in (183, 40) and align < 0x10000))
    for binary in sorted(glob.glob(top + "/target/dist/*/embrun")):
        status, out = run(script, binary)
        check("proof: %s is fit for a release" % binary.split("/")[-2], status == 0, out)


def bills():
    lock = {(p["name"], p["version"]): p.get("checksum") for p in tomllib.load(open(top + "/Cargo.lock", "rb"))["package"]}
    built = sorted(glob.glob(top + "/target/dist/*/embrun.cdx.json"))
    if not built:
        return lacks("bills of materials", "no release built: make release")
    for name in built:
        target, text = name.split("/")[-2], open(name).read()
        bill, folder = json.loads(text), os.path.dirname(name)
        digest = hashlib.sha256(open(folder + "/embrun", "rb").read()).hexdigest()
        check("%s: embrun.sha256 and the bill have the binary's hash" % target, open(folder + "/embrun.sha256").read() == digest + "  embrun\n"
              and bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}])
        crates = [c for c in bill["components"] if c["purl"].startswith("pkg:cargo/")]
        check("%s: the bill's crates have the checksums of Cargo.lock" % target,
              crates and all(c["hashes"][0]["content"] == lock[c["name"], c["version"]] for c in crates))
        refs = {c["bom-ref"] for c in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
        check("%s: the bill contains all dependencies that it names" % target, all(r in refs for d in bill["dependencies"] for r in [d["ref"]] + d["dependsOn"]))
        if has_tool("cyclonedx.validation"):
            status, out = run(python, "-c", "import sys\nfrom cyclonedx.validation.json import JsonStrictValidator\n"
                              "from cyclonedx.schema import SchemaVersion\n"
                              "e = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())\nsys.exit(repr(e) if e else 0)", name)
            check("%s: the bill is valid CycloneDX 1.5" % target, status == 0, out)
        else:
            lacks("%s: the bill is valid CycloneDX 1.5" % target, "cyclonedx-python-lib")


host = run("dpkg", "--print-architecture")[1].strip()
if len(sys.argv) not in (1, 3) or sys.argv[1:2] not in ([], ["--allow-missing"]):
    sys.exit(__doc__)
allowed = int(sys.argv[2]) if sys.argv[1:] else 0
tools()
for part in (versions, yocto, buildroot, dropins, kernel, indexes, proof, bills):
    part()
print("%d checks, %d faults, %d not checked" % (checked, len(faults), len(missing)))
sys.exit(1 if faults or len(missing) > allowed else 0)
