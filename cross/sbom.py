#!/usr/bin/env python3
"""Prints the software bill of materials of a release binary, as CycloneDX 1.5 JSON.

usage: cross/sbom.py TARGET      (called by cross/release.sh after cross/build.sh; env: CARGO, which built the binary)

The bill lists everything that is linked: the crates that embrun's normal dependencies reach for TARGET, Rust's standard library
and musl. Build scripts, proc macros and test crates are not in the binary, so they are not listed. There is no time stamp, so
that the same binary has the same bill.
"""
import hashlib, json, os, re, subprocess, sys, uuid

top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ["HOME"], ".cache")
toolchain = os.path.join(cache, "embrun", "cross", "root", "usr")


def crates(target):
    """The root's id, and each package that normal dependencies reach, as (package, ids it depends on)."""
    out = subprocess.run([os.environ["CARGO"], "metadata", "--locked", "--format-version", "1", "--filter-platform", target],
                         cwd=top, stdout=subprocess.PIPE, check=True).stdout
    meta = json.loads(out)
    packages = {p["id"]: p for p in meta["packages"]}
    nodes = {n["id"]: n for n in meta["resolve"]["nodes"]}
    found, todo = {}, [meta["resolve"]["root"]]
    while todo:
        here = todo.pop()
        if here in found:
            continue
        needs = [d["pkg"] for d in nodes[here]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
        found[here] = needs
        todo += needs
    return meta["resolve"]["root"], [(packages[i], n) for i, n in found.items()]


def checksums():
    lock = open(os.path.join(top, "Cargo.lock")).read()
    entry = r'name = "(.+?)"\nversion = "(.+?)"\nsource = ".+?"\nchecksum = "(.+?)"'
    return {(n, v): c for n, v, c in re.findall(entry, lock)}


def licence(text):
    return [{"expression": text.replace(" / ", " OR ").replace("/", " OR ")}] if text else []


def main(target):
    binary = open(os.path.join(top, "target/dist", target, "embrun"), "rb").read()
    digest = hashlib.sha256(binary).hexdigest()
    root, linked = crates(target)
    sums = checksums()
    ref = {p["id"]: "pkg:cargo/%s@%s" % (p["name"], p["version"]) for p, _ in linked}
    rust = os.path.basename(os.readlink(os.path.join(toolchain, "lib/rustlib/src/rust"))).removeprefix("rustc-")
    musl = open(os.path.join(toolchain, "lib/rustlib", target, "lib/self-contained/musl-version")).read().strip()
    system = [
        {"type": "library", "name": "rust-std", "version": rust, "purl": "pkg:generic/rust-std@" + rust, "licenses": licence("MIT OR Apache-2.0")},
        {"type": "library", "name": "musl", "version": musl, "purl": "pkg:deb/debian/musl@" + musl, "licenses": licence("MIT")},
    ]
    components, dependencies = [], []
    for package, needs in sorted(linked, key=lambda x: x[0]["id"]):
        own = {"type": "library", "bom-ref": ref[package["id"]], "name": package["name"], "version": package["version"],
               "purl": ref[package["id"]], "licenses": licence(package["license"])}
        if (package["name"], package["version"]) in sums:
            own["hashes"] = [{"alg": "SHA-256", "content": sums[package["name"], package["version"]]}]
        if package["id"] == root:
            own.update(type="application", hashes=[{"alg": "SHA-256", "content": digest}])
            program, extra = own, [s["purl"] for s in system]
        else:
            components.append(own)
            extra = []
        dependencies.append({"ref": own["bom-ref"], "dependsOn": sorted({ref[n] for n in needs}) + extra})
    components += [{"bom-ref": s["purl"], **s} for s in system]
    json.dump({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_OID, digest)),
        "metadata": {"component": program, "properties": [{"name": "embrun:target", "value": target}]},
        "components": components, "dependencies": dependencies,
    }, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
