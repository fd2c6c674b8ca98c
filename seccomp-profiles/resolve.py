#!/usr/bin/env python3
"""Converts an engine's seccomp profile to the linux.seccomp of a config.json.

    resolve.py PROFILE [--arch ARCH[,ARCH]...] [--caps CAP[,CAP]...]

PROFILE is the profile of docker or of containers-common, in which some rules apply only to some architectures or capabilities.
ARCH is amd64, arm64, arm, riscv64 ... (default: all of these, because a rule for calls that an architecture lacks does no harm
there). CAP is a capability of the container (default: those that docker grants).

default.json was made from docker's profile (github.com/moby/profiles, Apache-2.0), in Debian's source of docker.io:

    apt-get source docker.io
    resolve.py docker.io-*/engine/vendor/github.com/moby/profiles/seccomp/default.json > default.json
"""
import argparse, json

DOCKER_CAPS = ("CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL "
               "AUDIT_WRITE").split()
NATIVE = {"amd64": "SCMP_ARCH_X86_64", "x86": "SCMP_ARCH_X86", "arm64": "SCMP_ARCH_AARCH64", "arm": "SCMP_ARCH_ARM",
          "riscv64": "SCMP_ARCH_RISCV64", "s390x": "SCMP_ARCH_S390X", "ppc64le": "SCMP_ARCH_PPC64LE"}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("profile")
p.add_argument("--arch", default="amd64,arm64,arm,riscv64")
p.add_argument("--caps", default=",".join("CAP_" + c for c in DOCKER_CAPS))
args = p.parse_args()
arches, caps = args.arch.split(","), args.caps.split(",")
with open(args.profile) as f:
    profile = json.load(f)


def holds(rule):
    # 4.8 is the only kernel version in the profiles' conditions, and older kernels are not supported.
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    of_arch = not includes.get("arches") or any(a in includes["arches"] for a in arches)
    not_of_arch = all(a in excludes.get("arches", []) for a in arches) and "arches" in excludes
    return (of_arch and not not_of_arch and all(c in caps for c in includes.get("caps") or [])
            and not any(c in caps for c in excludes.get("caps") or []))


def resolved(rule):
    out = {"names": rule.get("names") or [rule["name"]], "action": rule["action"]}
    if rule.get("errnoRet") is not None:
        out["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        out["args"] = rule["args"]
    return out


out = {"defaultAction": profile["defaultAction"]}
if profile.get("defaultErrnoRet") is not None:
    out["defaultErrnoRet"] = profile["defaultErrnoRet"]
out["architectures"] = []
for arch in arches:
    native = NATIVE[arch]
    subs = next((m["subArchitectures"] for m in profile["archMap"] if m["architecture"] == native), None) or []
    out["architectures"] += [a for a in [native, *subs] if a not in out["architectures"]]
out["syscalls"] = [resolved(r) for r in profile["syscalls"] if holds(r)]


def text(value, depth):
    """JSON with lists of strings packed into lines, and what is short on one."""
    flat = json.dumps(value)
    pad = " " * (2 * depth)
    if len(flat) + len(pad) <= 110:
        return flat
    if isinstance(value, dict):
        members = [f"{pad}  {json.dumps(k)}: {text(v, depth + 1)}" for k, v in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{pad}}}"
    if all(isinstance(v, str) for v in value):
        lines, line = [], ""
        for item in (json.dumps(v) + ", " for v in value):
            if len(pad) + 2 + len(line) + len(item) > 112:
                lines, line = lines + [line], ""
            line += item
        return "[\n" + "\n".join(f"{pad}  {l}".rstrip() for l in [*lines, line.rstrip(", ")]) + f"\n{pad}]"
    return "[\n" + ",\n".join(f"{pad}  {text(v, depth + 1)}" for v in value) + f"\n{pad}]"


print(text(out, 0))
