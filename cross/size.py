#!/usr/bin/env python3
"""Prints the size of each crate and module in a release binary, read from the linker's map.

usage: cross/size.py [--module CRATE] [--symbols N] TARGET      (after cross/build.sh TARGET)

A generic function of the standard library counts for the first other crate in its type, because that one instantiated it.
Inlined code counts for its caller. "constants" are the data that the compiler only numbers: strings, panic locations, tables.
"""
import os, re, sys
from collections import Counter

top = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STD = {"core", "alloc", "std", "compiler_builtins", "hashbrown", "std_detect", "rustc_demangle"}
NOT_IN_FILE = (".bss", ".tbss", ".comment", ".symtab", ".strtab", ".shstrtab", ".debug", ".ARM.attributes", ".riscv.attributes")
# A crate in a v0 symbol: the tags of the path around it (Nt is a module or type, Nv a value), the length of its name, the rest.
CRATE = re.compile(r"((?:N[a-zA-Z])*)C(?:s[0-9A-Za-z]*_)?(\d+)(.*)", re.S)


def pieces(path):
    """Each input section that occupies space in the file: (size, origin)."""
    with open(path, errors="replace") as lines:
        header = next(lines)
        column, size_end = header.index(" In ") + 1, header.index("Size") + 4
        out = ""
        for line in lines:
            where = line[column:]
            if line[column - 8] != " ":
                out = line[column - 8:].strip()
            elif where[:1].strip() and not out.startswith(NOT_IN_FILE):
                yield int(line[:size_end].split()[2], 16), where.strip()


def identifiers(text):
    """The identifiers at the start of the rest of a v0 path: `6bundle4json5write` is bundle, json, write."""
    while found := re.match(r"(?:s[0-9A-Za-z]*_)?(\d+)_?", text):
        end = found.end() + int(found[1])
        yield text[found.end():end]
        text = text[end:]


def paths(symbol):
    """Each (crate, module) that a v0 symbol names, in order."""
    while found := CRATE.search(symbol):
        length, rest = int(found[2]), found[3].removeprefix("_")
        symbol = rest[length:]
        levels = found[1].count("Nt")
        modules = [name for name in list(identifiers(symbol))[:levels] if name[:1].islower() or name[:1] == "_"]
        yield rest[:length], "::".join(modules) or "(root)"


def owner(where):
    """(crate, module) of an input section."""
    file, section = re.fullmatch(r"(.*):\((.*)\)", where).groups() if ":(" in where else (where, "")
    if "_R" in section:
        named = list(paths(section[section.index("_R"):]))
        return next(((c, m) for c, m in named if c not in STD), ("std", "::".join(named[0])) if named else ("other", section))
    if "self-contained/libc.a" in file or "crt" in os.path.basename(file):
        return "musl", os.path.basename(file)
    if "compiler_builtins" in file:
        return "std", "compiler_builtins"
    if section.startswith((".rodata", ".data", ".tdata")):
        return "constants", "-"
    return "other", section or file


def table(title, counter, total, rows):
    print("%-58s %8s %6s" % (title, "bytes", "%"))
    for name, size in counter.most_common(rows):
        print("%-58s %8d %5.1f%%" % (name[:58], size, 100 * size / total))
    print()


def main(args):
    module, symbols = "embrun", 0
    while len(args) > 2:
        if args[0] == "--module":
            module = args[1]
        elif args[0] == "--symbols":
            symbols = int(args[1])
        else:
            break
        args = args[2:]
    if len(args) != 1:
        sys.exit(__doc__)
    dist = os.path.join(top, "target/dist", args[0])
    crates, modules, largest = Counter(), Counter(), Counter()
    for size, where in pieces(os.path.join(dist, "embrun.map")):
        crate, part = owner(where)
        crates[crate] += size
        modules[part] += size if crate == module else 0
        largest[crate + " " + re.sub(r".*:\(|\)$", "", where)] += size
    total = sum(crates.values())
    print("%s: %d bytes of file, %d of them code and data\n" % (args[0], os.path.getsize(os.path.join(dist, "embrun")), total))
    table("crate", crates, total, None)
    table("module of " + module, +modules, total, 40)
    if symbols:
        table("section", largest, total, symbols)


if __name__ == "__main__":
    main(sys.argv[1:])
