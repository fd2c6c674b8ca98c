#!/usr/bin/env python3
"""Removes one defence after another from a copy of the tree and requires that its test fails.

usage: integration/defences/run.py [--sample MINUTES | NAME...]
  Without arguments it tries all defences; NAME is the start of an identifier, such as B or A07.
  --sample tries as many as the minutes allow, and starts at another one each day.

The files *.txt hold the defences. Each begins with a line "== ID PROGRAM TEST", where PROGRAM is kernel, or a test program
that is built from the copy: lib, plans, rootfs, cgroup. "@ FILE" or "@ FILE FUNCTION" names the place of a change. The lines
after "- " are searched there, without their indentation; those after "+ " replace them. A text that is not found exactly once
in the file, or not in the function, is an error: the defence has moved, and its entry must follow it.

For each defence the test must pass with the copy as it is and fail with the change. One ordinary test of a container's life
must pass with the change, so that a program that does not work at all proves nothing.
"""

import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "embrun", "defences")
TREE = os.path.join(CACHE, "tree")
TARGET = os.path.join(CACHE, "target")
RUNTIME = os.path.join(TARGET, "debug", "embrun")
EACH_DAY = 12
CONTROL = "lifecycle::create_start_and_delete_change_the_status"


class Bad(Exception):
    """A defence, or its entry, that does not hold."""


class Defence:
    def __init__(self, line):
        self.id, self.program, self.test = line.split()
        self.changes = []  # [file, function, old lines, new lines]


def load():
    """All defences, in the order of their identifiers."""
    found = []
    for name in sorted(os.listdir(HERE)):
        if not name.endswith(".txt"):
            continue
        for line in open(os.path.join(HERE, name), encoding="utf-8"):
            mark, _, rest = line.rstrip("\n").partition(" ")
            if mark == "==":
                found.append(Defence(rest))
            elif mark == "@":
                file, _, function = rest.partition(" ")
                found[-1].changes.append((file, function, [], []))
            elif mark in "-+" and mark:
                found[-1].changes[-1][2 if mark == "-" else 3].append(rest.strip())
            elif mark not in ("", "#"):
                raise SystemExit(f"{name}: cannot read {line!r}")
    return sorted(found, key=lambda d: d.id)


def changed(text, file, function, old, new):
    """The text with the old lines replaced, once."""
    lines = text.split("\n")
    bare = [line.strip() for line in lines]
    start, end = 0, len(lines)
    if function:
        heads = [i for i, line in enumerate(bare) if re.search(rf"\bfn {re.escape(function)}[(<]", line)]
        if len(heads) != 1:
            raise Bad(f"{file} has {len(heads)} functions {function}")
        start = heads[0]
        closing = re.match(r"\s*", lines[start]).group() + "}"
        end = lines.index(closing, start)
    places = [i for i in range(start, end) if bare[i : i + len(old)] == old]
    if len(places) != 1:
        raise Bad(f"{file}: its text is found {len(places)} times: {old[0]}")
    indent = re.match(r"\s*", lines[places[0]]).group()
    lines[places[0] : places[0] + len(old)] = [indent + line for line in new]
    return "\n".join(lines)


def write(path, content):
    """Writes a file of the copy only if it differs, so that cargo builds only what has changed."""
    path = os.path.join(TREE, path)
    try:
        with open(path, "rb") as file:
            if file.read() == content:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def read(path):
    with open(os.path.join(TOP, path), "rb") as file:
        return file.read()


def copy():
    """Copies the files that git knows, or would add, and removes those of an earlier copy."""
    listed = subprocess.run(
        ["git", "-C", TOP, "ls-files", "-co", "--exclude-standard", "-z"], check=True, capture_output=True, text=True
    ).stdout.split("\0")
    wanted = {f for f in listed if f and os.path.isfile(os.path.join(TOP, f)) and not os.path.islink(os.path.join(TOP, f))}
    for above, _, names in os.walk(TREE):
        for name in names:
            if os.path.relpath(os.path.join(above, name), TREE) not in wanted:
                os.unlink(os.path.join(above, name))
    for file in wanted:
        write(file, read(file))
        os.chmod(os.path.join(TREE, file), os.stat(os.path.join(TOP, file)).st_mode & 0o777)


def cargo(*args):
    environment = {**os.environ, "CARGO_TARGET_DIR": TARGET, "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_TERM_COLOR": "never"}
    done = subprocess.run(
        ["cargo", *args, "--locked"], cwd=TREE, env=environment, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        raise Bad("it does not build:\n" + done.stderr)
    return done.stderr


def build(programs):
    """Builds what the tests of these programs run; returns the paths of the test programs."""
    cargo("build", "--bin", "embrun")
    paths = {}
    for name in programs - {"kernel"}:
        says = cargo("test", "--no-run", *(["--lib"] if name == "lib" else ["--test", name]))
        paths[name] = os.path.join(TREE, re.findall(r"Executable .*\((.*)\)", says)[-1])
    return paths


def run(program, tests):
    """Runs tests by their full names; returns those that passed, those that failed, and the output."""
    environment = {**os.environ, "RUNTIME": RUNTIME, "IT_HOST": "defences", "RUST_BACKTRACE": "0"}
    # Without a defence a test could change the mounts of the host, or hang. The kernel tests have a cage and a limit of their own.
    cage = "timeout 300 unshare --fork --pid --mount --mount-proc --kill-child=KILL -- tini -s --".split()
    if os.path.basename(program) == "kernel":
        cage = []
    done = subprocess.run(
        [*cage, program, "--exact", *tests], cwd=TREE, env=environment, capture_output=True, text=True, errors="replace"
    )
    results = dict(re.findall(r"^test (\S+) \.\.\. (ok|FAILED|ignored)", done.stdout, re.M))
    # Tests that run only on demand.
    if set(tests) - set(results) and "--ignored" not in tests:
        more = run(program, ["--ignored", *(t for t in tests if t not in results)])
        results = {**results, **dict.fromkeys(more[0], "ok"), **dict.fromkeys(more[1], "FAILED")}
        done.stdout += more[2]
    pick = lambda result: {t for t in tests if results.get(t) == result}
    return pick("ok"), pick("FAILED"), "\n".join((done.stdout + done.stderr).split("\n")[-40:])


def null():
    """The state of the host's /dev/null, which a runtime without its defences could change."""
    s = os.stat("/dev/null")
    return (s.st_mode, s.st_uid, s.st_gid, s.st_rdev)


def attempt(defence, kernel):
    """Removes a defence; an error if its test still passes."""
    texts = {}
    for file, function, old, new in defence.changes:
        texts[file] = changed(texts.get(file) or read(file).decode(), file, function, old, new)
    if not texts:
        raise Bad("its entry changes nothing")
    try:
        for file, text in texts.items():
            write(file, text.encode())
        program = build({defence.program}).get(defence.program, kernel)
        passed, failed, says = run(program, [defence.test])
        if defence.test not in failed:
            what = "passes" if passed else "does not run"
            raise Bad(f"{defence.test} {what} without the defence" + ("" if passed else ":\n" + says))
        if defence.program == "kernel" and not run(kernel, [CONTROL])[0]:
            raise Bad("the program without the defence does not run a container at all")
        if os.environ.get("DEFENCES_SHOW"):
            print(says)
    finally:
        for file in texts:
            write(file, read(file))


def baseline(chosen, kernel):
    """The tests that do not pass with all defences in place."""
    paths = {"kernel": kernel, **build({d.program for d in chosen})}
    bad = {}
    for name, path in paths.items():
        tests = sorted({d.test for d in chosen if d.program == name})
        passed, _, says = run(path, tests) if tests else (set(), set(), "")
        bad.update({t: f"{t} does not pass with all defences:\n{says}" for t in set(tests) - passed})
    return bad


def choose(every, args):
    if args[:1] == ["--sample"]:
        # Each day starts where the one before could have ended.
        start = int(time.time() // 86400) * EACH_DAY % len(every)
        return every[start:] + every[:start], time.time() + 60 * float(args[1])
    chosen = [d for d in every if not args or any(d.id.startswith(a) for a in args)]
    return chosen, None


def main():
    every = load()
    chosen, until = choose(every, sys.argv[1:])
    if not chosen:
        raise SystemExit("no such defence")
    os.makedirs(CACHE, exist_ok=True)
    kernel = subprocess.run(
        [os.path.join(TOP, "integration/programs.sh"), "kernel"], check=True, capture_output=True, text=True
    ).stdout.strip()
    # A later build of the tree must not replace it meanwhile.
    kernel = shutil.copy(kernel, os.path.join(CACHE, "kernel"))
    copy()
    if until:
        chosen = chosen[:EACH_DAY]
    before = null()
    broken = baseline(chosen, kernel)
    tried = failed = 0
    for defence in chosen:
        if until and time.time() > until and tried:
            break
        tried += 1
        began = time.time()
        try:
            if defence.test in broken:
                raise Bad(broken[defence.test])
            attempt(defence, kernel)
            says = "its test fails without it"
        except Bad as e:
            failed += 1
            says = f"FAULT: {e}"
        print(f"{defence.id:5} {time.time() - began:4.0f} s  {defence.test}: {says}", flush=True)
        if null() != before:
            raise SystemExit(f"{defence.id}: /dev/null of the host has changed")
    print(f"{tried} of {len(every)} defences tried, {failed} faults")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
