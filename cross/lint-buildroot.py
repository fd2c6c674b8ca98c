#!/usr/bin/env python3
"""Lets kconfiglib, make and cargo use the Buildroot packages as Buildroot does, up to the installed files.

usage: cross/lint-buildroot.py EMPTY-FOLDER      (called by cross/lint.py in an environment with kconfiglib)

MAKEFILE stands for the few lines of Buildroot that the packages need. PKG_CARGO_ENV has what its pkg-cargo.mk of 2026 sets when
BR2_OPTIMIZE_S is chosen; style() has the rules of its check-package, which is in no package. The crates come from cargo's own
downloads and must have the checksums of the .hash file. Each check prints `ok NAME`; the first that fails raises.
"""
import glob, hashlib, json, os, re, shutil, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
top = os.path.dirname(here)
box = os.path.realpath(sys.argv[1])
LIMIT = 1_050_000  # bytes for the host's glibc; with Buildroot's own profile it is 1.3 MB
host = re.search(r"^host: (.*)$", subprocess.run(["rustc", "-vV"], stdout=subprocess.PIPE, text=True, check=True).stdout, re.M)[1]
PROFILE = {"INCREMENTAL": "false", "CODEGEN_UNITS": "16", "SPLIT_DEBUGINFO": "off", "OPT_LEVEL": "s", "LTO": "false", "DEBUG": "0",
           "DEBUG_ASSERTIONS": "false", "OVERFLOW_CHECKS": "false"}
MAKEFILE = r"""
cargo-package =
host-generic-package =
KCONFIG_ENABLE_OPT = echo $(1)=y
INSTALL = install
TAR = tar
RUSTC_TARGET_NAME = {host}
TARGET_DIR = {box}/image
HOST_EMBRUN_CRATES_DL_DIR = {box}/dl
HOST_EMBRUN_CRATES_DIR = {box}/crates
BR2_EXTERNAL_EMBRUN_PATH = {box}/tree/cross/buildroot
BR2_PACKAGE_EMBRUN_AS_RUNC = y
BR2_PACKAGE_EMBRUN_DROPINS = y
BR2_PACKAGE_CONTAINERD = $(ENGINES)
BR2_PACKAGE_DOCKER_ENGINE = $(ENGINES)
BR2_PACKAGE_PODMAN = $(ENGINES)
include {box}/tree/cross/buildroot/external.mk
PKG_CARGO_ENV = CARGO_HOME={box}/cargo-home __CARGO_TEST_CHANNEL_OVERRIDE_DO_NOT_USE_THIS="nightly" \
	CARGO_UNSTABLE_HOST_CONFIG="true" CARGO_UNSTABLE_TARGET_APPLIES_TO_HOST="true" CARGO_TARGET_APPLIES_TO_HOST="false" \
	CARGO_BUILD_TARGET="{host}" CARGO_HOST_RUSTFLAGS="" CARGO_TARGET_{HOST}_LINKER=gcc {profile}
{box}/crates/extract:
	$(HOST_EMBRUN_CRATES_EXTRACT_CMDS)
{box}/build/extract:
	$(EMBRUN_EXTRACT_CMDS)
	$(foreach hook,$(EMBRUN_PRE_CONFIGURE_HOOKS),$($(hook))$(sep))
{box}/build/graph:
	cd $(@D) && $(PKG_CARGO_ENV) $(EMBRUN_CARGO_ENV) cargo build --offline --release --manifest-path Cargo.toml --locked \
		$(EMBRUN_CARGO_BUILD_OPTS) --unit-graph -Z unstable-options > $@
{box}/build/build:
	cd $(@D) && $(PKG_CARGO_ENV) $(EMBRUN_CARGO_ENV) cargo build --quiet --offline --release --manifest-path Cargo.toml --locked \
		$(EMBRUN_CARGO_BUILD_OPTS)
{box}/build/install:
	$(EMBRUN_INSTALL_TARGET_CMDS)
	$(foreach hook,$(EMBRUN_POST_INSTALL_TARGET_HOOKS),$($(hook))$(sep))
{box}/build/kernel:
	$(EMBRUN_LINUX_CONFIG_FIXUPS)
{box}/build/facts:
	@echo version=$(EMBRUN_VERSION)=$(EMBRUN_CRATES_VERSION) tree=$(EMBRUN_TREE)
	@printf '%s\n' $(HOST_EMBRUN_CRATES_EXTRA_DOWNLOADS)

define sep


endef
"""


def shown(what, holds, why=None):
    if not holds:
        raise AssertionError("%s: %s" % (what, why))
    print("ok " + what, flush=True)


def read(name):
    with open(os.path.join(here, name)) as f:
        return f.read()


def style(name):
    """Applies the rules of check-package, under their names there."""
    text, bad = read("buildroot/" + name), []
    lines = text.split("\n")
    broken = lambda rule, found: bad.append(rule) if found else None
    broken("NewlineAtEof", not text.endswith("\n"))
    broken("EmptyLastLine", text.endswith("\n\n"))
    broken("ConsecutiveEmptyLines", "\n\n\n" in text)
    broken("TrailingSpace", any(line != line.rstrip() for line in lines))
    broken("Utf8Characters", not text.isascii())
    broken("NotExecutable", os.access(os.path.join(here, "buildroot", name), os.X_OK))
    if name.endswith("Config.in"):
        helped = re.findall(r"\thelp\n((?:\t.*\n|\n(?=\t))+)", text)
        broken("HelpText", any(line and not re.match(r"\t  \S.{,61}$", line) for h in helped for line in h.rstrip("\n").split("\n")))
        broken("HelpText: no URL", "package/embrun/" in name and not re.search(r"\n\n\t  https://\S+\n", helped[0]))
        broken("NoDefaultN", re.search(r"^\tdefault n$", text, re.M))
        broken("Indent", re.search(r"^[ \t]+(choice|comment|config|end\w+|if|menu|source)\b", re.sub(r"\t  .*", "", text), re.M))
        entries = re.findall(r"^(?:menu)?config (.*)$", text, re.M)
        broken("RedefinedConfig", len(entries) != len(set(entries)))
        order = ["bool", "default", "depends", "select", "help"]
        for entry in re.split(r"^(?:(?:menu)?config|comment) .*$", text, flags=re.M)[1:]:
            found = [w for w in re.findall(r"^\t(\w+)", entry, re.M) if w in order]
            broken("AttributesOrder", found != sorted(found, key=order.index))
    if name.endswith(".mk") and name != "external.mk":
        package = name.split("/")[-1][:-3]
        prefix = package.replace("-", "_").upper() + "_"
        broken("PackageHeader", lines[:6] != ["#" * 80, "#", "# " + package, "#", "#" * 80, ""])
        broken("TypoInPackageVariable", [v for v in re.findall(r"^(?:define )?([A-Z0-9_]+_[A-Z0-9_]+)", text, re.M)
                                         if not v.removeprefix("HOST_").startswith(prefix)])
        broken("VariableWithBraces", re.search(r"^[^#].*[^$]\$\{\w+\}", text, re.M))
        broken("SpaceBeforeBackslash", re.search(r"(  |\t ?)\\$", text, re.M))
        broken("TrailingBackslash", re.search(r"\\\n\s*\n", text))
        broken("UselessFlag", re.search(r"_INSTALL_(IMAGES|STAGING)\s*=\s*NO|_INSTALL_TARGET\s*=\s*YES", text))
        broken("RemoveDefaultPackageSourceVariable", re.search(r"_SOURCE\s*=\s*%s-\$\(" % package, text))
        assigned = re.findall(r"^([A-Z0-9_]+)\s*:?=", text, re.M)
        broken("OverriddenVariable", len(assigned) != len(set(assigned)))
        inside = False
        for before, line in zip([""] + lines, lines):
            inside = (inside or before.startswith("define")) and not line.startswith("endef")
            tab = line.startswith("\t")
            broken("Indent: " + line, line and not line.startswith("#") and tab != (inside or before.endswith("\\")))
    if name.endswith(".hash"):
        broken("HashSpaces, HashType", [line for line in lines if line and line[0] != "#" and not re.fullmatch(r"sha256  [0-9a-f]{64}  \S+", line)])
    shown("check-package's rules: " + name, not bad, " ".join(bad))


def config():
    """Kconfig offers the package, and the link only where no other package has the file."""
    import kconfiglib
    others = ["BR2_PACKAGE_" + name for name in ("HOST_RUSTC_TARGET_ARCH_SUPPORTS", "HOST_RUSTC", "RUNC", "CRUN")] + ["BR2_USE_MMU"]
    stub = "".join('config %s\n\tbool "%s"\n' % (name, name) for name in others)
    open(box + "/Config.in", "w").write(stub + 'source "%s/buildroot/Config.in"\n' % here)
    os.environ["BR2_EXTERNAL_EMBRUN_PATH"] = here + "/buildroot"
    k = kconfiglib.Kconfig(box + "/Config.in", warn_to_stderr=False)
    value = lambda name: k.syms["BR2_" + name].tri_value
    choose = lambda name, to=2: k.syms["BR2_" + name].set_value(to)
    choose("PACKAGE_EMBRUN")
    shown("kconfiglib: not offered without a Rust for the target", not k.warnings and value("PACKAGE_EMBRUN") == 0, k.warnings)
    choose("PACKAGE_HOST_RUSTC_TARGET_ARCH_SUPPORTS")
    choose("USE_MMU")
    shown("kconfiglib: selects Rust, writes drop-ins and no link", [value("PACKAGE_" + name) for name in (
        "EMBRUN", "HOST_RUSTC", "EMBRUN_DROPINS", "EMBRUN_AS_RUNC")] == [2, 2, 2, 0])
    choose("PACKAGE_EMBRUN_AS_RUNC")
    links = [value("PACKAGE_EMBRUN_AS_RUNC")]
    for other in ("RUNC", "CRUN"):
        choose("PACKAGE_" + other)
        links.append(value("PACKAGE_EMBRUN_AS_RUNC"))
        choose("PACKAGE_" + other, 0)
    shown("kconfiglib: no link where runc or crun is selected", links == [2, 0, 0], links)


def make(step, *more):
    done = subprocess.run(["make", "-s", "-f", box + "/Makefile", "%s/%s" % (box, step), *more], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError("make %s: %s" % (step, done.stdout))
    return done.stdout


def installed(*more):
    shutil.rmtree(box + "/image", ignore_errors=True)
    make("build/install", *more)
    # Buildroot itself removes manual pages, and the completions of shells that the image lacks.
    names = {os.path.relpath(os.path.join(at, name), box + "/image") for at, _, names in os.walk(box + "/image") for name in names}
    return {name for name in names if not re.match("usr/share/(man|bash-completion|zsh|fish)/", name)}


for name in ("Config.in", "external.mk") + tuple("package/" + os.path.relpath(path, here + "/buildroot/package")
                                                 for path in sorted(glob.glob(here + "/buildroot/package/*/*"))):
    style(name)
shown("embrun.hash: LICENSE", hashlib.sha256(open(top + "/LICENSE", "rb").read()).hexdigest() in read("buildroot/package/embrun/embrun.hash"))
config()

# The tree of the last commit with this folder as it is now. As in an image builder's archive, it is not a git repository.
for folder in ("tree", "build", "crates", "dl"):
    os.makedirs(box + "/" + folder)
subprocess.run(["sh", "-c", 'git -C "$1" archive HEAD | tar -x -C "$2" && rm -r "$2/cross" && cp -a "$1/cross" "$2/"', "sh", top, box + "/tree"],
               check=True)
open(box + "/Makefile", "w").write(MAKEFILE.replace("{host}", host).replace("{HOST}", host.upper().replace("-", "_")).replace("{box}", box)
                                   .replace("{profile}", " ".join("CARGO_PROFILE_RELEASE_%s=%s" % pair for pair in PROFILE.items())))
facts = make("build/facts").split()
version = re.search(r'^version = "(.+)"', open(top + "/Cargo.toml").read(), re.M)[1]
shown("has the crate's version, and builds its own tree", facts[:2] == ["version=%s=%s" % (version, version), "tree=%s/tree" % box], facts[:2])

subprocess.run(["cargo", "fetch", "-q", "--locked"], cwd=top, check=True)
sums = dict(reversed(line.split()[1:]) for line in read("buildroot/package/embrun-crates/embrun-crates.hash").split("\n")[1:-1])
for url in facts[2:]:
    crate = url.split("/")[-1]
    found, = glob.glob(os.path.join(os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo"), "registry/cache/*", crate))[:1]
    if hashlib.sha256(open(found, "rb").read()).hexdigest() != sums.pop(crate):
        raise AssertionError("embrun-crates.hash: " + crate)
    shutil.copy(found, box + "/dl/")
shown("downloads %d crates, each with its checksum" % len(facts[2:]), not sums, sums)
make("crates/extract")
make("build/extract")
make("build/graph")
shown("cargo needs only these crates", True)
plain = subprocess.run(["cargo", "build", "--offline", "--release", "--locked", "--bin", "embrun", "--target", host, "--unit-graph", "-Z",
                        "unstable-options"], cwd=top, stdout=subprocess.PIPE, check=True, env={**os.environ, "RUSTC_BOOTSTRAP": "1"}).stdout
profiles = [next(u["profile"] for u in json.loads(graph)["units"] if u["target"]["kind"] == ["bin"])
            for graph in (plain, open(box + "/build/graph").read())]
for profile in profiles:
    del profile["split_debuginfo"]  # "off" and nothing are the same on Linux
shown("keeps the profile of a release under Buildroot's variables", profiles[0] == profiles[1], profiles)
make("build/build")
size = os.path.getsize(box + "/build/target/%s/release/embrun" % host)
shown("builds %d bytes, of at most %d" % (size, LIMIT), size <= LIMIT)

files = {"usr/share/embrun/seccomp-profiles/" + os.path.basename(p) for p in glob.glob(top + "/seccomp-profiles/*.json")} | {
    "usr/bin/embrun", "usr/bin/runc"}
found = installed("ENGINES=n")
shown("installs exactly embrun, runc and the profiles", found == files, found)
said = subprocess.run([box + "/image/usr/bin/runc", "--version"], stdout=subprocess.PIPE, text=True).stdout
shown("the link starts embrun", "version " + version in said or "embrun" in said, said)
found = installed("ENGINES=y")
shown("installs the drop-ins of the engines in the image", found == files | {
    "etc/containerd/config.toml", "etc/docker/daemon.json", "etc/containers/containers.conf.d/50-embrun.conf"}, found)
fragment = subprocess.run([here + "/kernel/check.sh", "--fragment", "required", "default", "limits", "userns"], stdout=subprocess.PIPE, text=True).stdout
shown("enables the options of four groups of the kernel table", re.findall(r"^CONFIG_\w+=y", make("build/kernel"), re.M)
      == re.findall(r"^CONFIG_\w+=y", fragment, re.M))
