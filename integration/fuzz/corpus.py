#!/usr/bin/env python3
"""Keeps a corpus as one text file, with one escaped input per line, so that its changes can be read.

usage: corpus.py unpack FILE DIRECTORY | corpus.py pack DIRECTORY FILE
"""
import hashlib
import pathlib
import re
import sys

PLAIN = {byte: chr(byte) for byte in range(0x20, 0x7F)} | {0x5C: r"\\", 0x0A: r"\n"}


def line(data):
    return "".join(PLAIN.get(byte, f"\\x{byte:02x}") for byte in data)


def data(text):
    def one(match):
        word = match[1]
        return {"n": b"\n", "\\": b"\\"}.get(word.decode()) or bytes([int(word[1:], 16)])

    return re.sub(rb"\\(n|\\|x[0-9a-f]{2})", one, text.encode("ascii"))


def unpack(file, directory):
    directory.mkdir(parents=True, exist_ok=True)
    for text in file.read_text("ascii").splitlines():
        found = data(text)
        (directory / hashlib.sha1(found).hexdigest()).write_bytes(found)


def pack(directory, file):
    inputs = sorted((path.read_bytes() for path in directory.iterdir()), key=lambda found: (len(found), found))
    file.write_text("".join(line(found) + "\n" for found in inputs), "ascii")


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    {"pack": pack, "unpack": unpack}[verb](*map(pathlib.Path, paths))
