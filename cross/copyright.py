#!/usr/bin/env python3
"""Prints debian/copyright of a release binary: embrun, and the notices of all that is linked into it.

usage: cross/copyright.py TARGET      (called by cross/deb.sh after cross/release.sh, which wrote the bill of materials)

The MIT licence asks for its text and each copyright line in every copy of a program. The crates are those of the bill; their lines
come from their own licence files, musl's from Debian's package, with each path below musl/.
"""
import glob, json, os, re, subprocess, sys

top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ["HOME"], ".cache")
ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7": "armhf", "arm": "armel", "riscv64gc": "riscv64"}


def paragraph(files, holders, licence):
    return "Files: %s\nCopyright: %s\nLicense: %s\n" % (files, "\n ".join(holders), licence)


def crate(package):
    """The paragraph of a crate, which is used under MIT where there is a choice. Some licence files name nobody, but Cargo.toml does."""
    folder = os.path.dirname(package["manifest_path"])
    files = sorted(glob.glob(folder + "/LICENSE*") + glob.glob(folder + "/COPYRIGHT*"))
    text = "\n".join(open(f).read() for f in files)
    holders = dict.fromkeys(line.split(None, 1)[1] for line in re.findall(r"^Copyright .*(?:\d{4}|Developers).*$", text, re.M))
    return paragraph("%s-%s/*" % (package["name"], package["version"]), list(holders) or package["authors"] or ["the authors of " + package["name"]],
                     "MIT" if "MIT" in re.split(" OR |/", package["license"]) else package["license"])


def musl(target):
    """Musl's paragraphs, except those of Debian's packaging."""
    name = os.path.join(cache, "embrun/cross/musl-" + ARCH[target.split("-")[0]], "usr/share/doc/musl-dev/copyright")
    for part in open(name).read().strip().split("\n\n")[1:]:
        if part.startswith("Files: debian/"):
            continue
        if part.startswith("Files:"):
            files, rest = part.split("\nCopyright:", 1)
            part = "Files: %s\nCopyright:%s" % ("\n ".join("musl/" + path for path in files.split()[1:]), rest)
        yield part + "\n"


def main(target):
    bill = json.load(open(os.path.join(top, "target/dist", target, "embrun.cdx.json")))
    linked = {(c["name"], c["version"]) for c in bill["components"] if c["purl"].startswith("pkg:cargo/")}
    meta = json.loads(subprocess.run(["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target], cwd=top,
                                     stdout=subprocess.PIPE, check=True).stdout)
    packages = sorted((p for p in meta["packages"] if (p["name"], p["version"]) in linked), key=lambda p: p["name"])
    if len(packages) != len(linked):
        sys.exit("copyright: cargo does not know every crate of the bill")
    out = ["""Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: embrun
Source: %s
Comment: The folders below are the sources of all that is linked into the
 program. Their versions and checksums are in embrun.cdx.json.
""" % re.search(r'^homepage = "(.+)"', open(top + "/Cargo.toml").read(), re.M)[1],
           paragraph("*", ["2026 The embrun developers"], "Apache-2.0")]
    out += [crate(p) for p in packages]
    out.append(paragraph("rust-std/*", ["The Rust Project Developers"], "MIT"))
    out += musl(target)
    out.append("License: Apache-2.0\n On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.\n")
    has = {name for part in out for name in re.findall(r"^License: (\S+)\n ", part, re.M)}
    lacks = {name for part in out for name in re.findall(r"^License: (.+)$", part, re.M)} - has
    if lacks:
        sys.exit("copyright: no text of the licence " + ", ".join(sorted(lacks)))
    sys.stdout.write("\n".join(out))


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(sys.argv[1])
