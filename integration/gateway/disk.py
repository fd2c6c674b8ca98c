#!/usr/bin/env python3
"""A disk that loses its write cache in a power cut, like SD cards and disk drives.

It serves an image by the protocol of Linux's network block device, without a handshake (attach.c is the client). Writes stay in
memory until the guest flushes the disk. When the connection breaks, the guest was cut off: each page of 4096 bytes that was not
flushed is on the disk or not, at random, so a cut also reorders writes. The rest is lost. A line on stdout reports each cut.

usage: disk.py ADDRESS PORT IMAGE SEED
"""

import mmap
import random
import select
import socket
import struct
import sys

PAGE = 4096
READ, WRITE, DISCONNECT, FLUSH = range(4)
REQUEST = struct.Struct(">IHHQQI")
REPLY = struct.Struct(">IIQ")


class Disk:
    """The image, and the pages in its cache."""

    def __init__(self, path, seed):
        with open(path, "r+b") as file:
            self.medium = mmap.mmap(file.fileno(), 0)
        self.cache = {}
        self.random = random.Random(seed)

    def page(self, number):
        """The page as the guest sees it, for changing it."""
        if number not in self.cache:
            self.cache[number] = bytearray(self.medium[number * PAGE : (number + 1) * PAGE])
        return self.cache[number]

    def read(self, at, length):
        data = bytearray(self.medium[at : at + length])
        for number in range(at // PAGE, (at + length + PAGE - 1) // PAGE):
            if number in self.cache:
                page, first = self.cache[number], number * PAGE
                start, end = max(at, first), min(at + length, first + PAGE)
                data[start - at : end - at] = page[start - first : end - first]
        return bytes(data)

    def write(self, at, data):
        end = at + len(data)
        for number in range(at // PAGE, (end + PAGE - 1) // PAGE):
            first = number * PAGE
            start, stop = max(at, first), min(end, first + PAGE)
            self.page(number)[start - first : stop - first] = data[start - at : stop - at]

    def flush(self, numbers=None):
        for number in list(self.cache) if numbers is None else numbers:
            self.medium[number * PAGE : (number + 1) * PAGE] = bytes(self.cache.pop(number))

    def cut(self):
        """Returns how many pages were lost."""
        self.flush([number for number in self.cache if self.random.random() < 0.5])
        lost = len(self.cache)
        self.cache.clear()
        return lost


def receive(connection, listener, length):
    """A guest that is killed closes nothing, so the next guest's connection ends this one."""
    parts = bytearray()
    while len(parts) < length:
        if connection not in select.select([connection, listener], [], [])[0]:
            raise ConnectionError("the next guest is here")
        part = connection.recv(length - len(parts))
        if not part:
            raise ConnectionError("the guest is gone")
        parts += part
    return bytes(parts)


def serve(connection, listener, disk):
    """Returns True if the guest detached the disk, and False if it was cut off."""
    while True:
        try:
            _, _, kind, handle, at, length = REQUEST.unpack(receive(connection, listener, REQUEST.size))
            answer = b""
            if kind == READ:
                answer = disk.read(at, length)
            elif kind == WRITE:
                disk.write(at, receive(connection, listener, length))
            elif kind == FLUSH:
                disk.flush()
            elif kind == DISCONNECT:
                return True
            connection.sendall(REPLY.pack(0x67446698, 0, handle) + answer)
        except OSError:
            return False


def main():
    address, port, image, seed = sys.argv[1:]
    disk = Disk(image, int(seed))
    listener = socket.create_server((address, int(port)))
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if serve(connection, listener, disk):
            disk.flush()
            print("detached", flush=True)
        else:
            print("lost", disk.cut(), flush=True)
        connection.close()


main()
