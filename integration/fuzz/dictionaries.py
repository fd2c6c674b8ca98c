#!/usr/bin/env python3
"""Writes dictionaries for libFuzzer from the sources: the keys of config.json, options, commands and names.

usage: dictionaries.py DIRECTORY
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def found(pattern, *globs):
    files = sorted(path for glob in globs for path in ROOT.glob(glob) if "tests" not in path.name)
    return sorted({word for path in files for word in re.findall(pattern, path.read_text())})


def write(directory, name, words):
    lines = "".join('"{}"\n'.format(word.replace("\\", "\\\\").replace('"', '\\"')) for word in words)
    (directory / f"{name}.dict").write_text(lines)


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    readers = ["src/bundle/config/*.rs", "src/cgroup/limits/read.rs", "src/seccomp/policy.rs", "src/bundle/intel_rdt.rs"]
    keys = [f'"{key}":' for key in found(r'(?:must|may|Later::new)\(\s*"(\w+)"', *readers)]
    names = [f'"{name}"' for name in found(r'"([A-Z]{3,}_[A-Z0-9_]+)"', *readers)]
    options = found(r'\("(\w+)", (?:Set|Clear|SetAll|ClearAll|Propagation|Effect)', "src/plan/options.rs")
    flags = found(r"(?m)^(?:-\w, )?(--[a-z0-9-]+)", "src/cli/commands.txt")
    commands = found(r"(?m)^([a-z]+)(?: [<\[]|:)", "src/cli/commands.txt")
    write(directory, "config", keys + names + [f'"{word}"' for word in options])
    write(directory, "seccomp", [k for k in keys if "rg" in k or "a" in k] + [n for n in names if "SC" in n])
    write(directory, "mount_options", options + [",", "size=1m"])
    write(directory, "argv", flags + [f"\n{word}\n" .strip() for word in commands] + ["--", "=true", "=false", "-"])
    write(directory, "values", "SIG RTMIN+ RTMAX- KILL TERM CAP_ CAP_SYS_ADMIN rwm 4294967295 1023 0-3,7 .5 A=b".split())
    write(directory, "sysctl", "net. net/ kernel. user. fs.mqueue. fs/mqueue/ kernel/sem .. / domainname shmmax".split())
    write(directory, "cgroups_path", ".slice .scope :: : / ../ ./ - system.slice user.slice".split())
    write(directory, "procfs", ["cgroup2", "cgroup", " - ", "shared:1", "\\040", "\\134", "0::/", "|", "rw", ") S "])
    write(directory, "passwd", ["root:x:0:0:root:/root:/bin/sh", ":x:", "::", ":/", "4294967295"])
    record = found(r'(?:must|may)\(\s*"(\w+)"', "src/state/record.rs", "src/cgroup/place/location.rs")
    write(directory, "record", [f'"{key}":' for key in record] + ['"created"', '"version":1,', '"crc32":"'])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
