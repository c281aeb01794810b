#!/usr/bin/env python3
"""Connections by the thousand, each of which knows who serves it.

    global_conns.py serve NAME PORT ADDRESS...
    global_conns.py hold COMMANDS ADDRESS PORT [--from ADDRESS]

The server says its name (8 bytes) on every connection, then sends back what it gets.
The holder reads commands from the file COMMANDS, and answers each by a line of JSON:

    open N [RATE]    N more, RATE of them a second: {"opened", "failed", "errors", "by": {NAME: number}}
    check [NAME...]  sends a byte on those that NAME serves (all), and waits for it:
                     {"alive", "broken", "silent": {NAME: number}}
    ports            {"ports": [...]}, its own

"broken" are those that ended or were reset; they are closed. "silent" ones owe us an
answer; the next check waits for it again.
"""
import argparse
import collections
import errno
import json
import os
import resource
import select
import socket
import sys
import time

NAME = 8
IN_FLIGHT = 256  # connections that are not there yet
DEADLINE = 15


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def allow_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(args):
    poll, streams = select.epoll(), {}
    listeners = {}
    for address in args.addresses:
        server = socket.socket(family_of(address), socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, args.port))
        server.listen(4096)
        server.setblocking(False)
        listeners[server.fileno()] = server
        poll.register(server, select.EPOLLIN)
    name = args.name.encode().ljust(NAME)
    print("ready", flush=True)
    while True:
        for fd, _ in poll.poll():
            try:
                if fd in listeners:
                    stream, _ = listeners[fd].accept()
                    streams[stream.fileno()] = stream
                    poll.register(stream, select.EPOLLIN)
                    stream.send(name)
                    continue
                data = streams[fd].recv(4096)
                if data:
                    streams[fd].send(data)
                    continue
            except BlockingIOError:
                continue
            except OSError:
                pass
            if fd in streams:
                streams.pop(fd).close()


class Holder:
    def __init__(self, args):
        self.target = (args.address, args.port)
        self.family = family_of(args.address)
        self.source = args.source
        self.poll = select.epoll()
        self.streams = {}  # by fd
        self.names = {}  # who serves it, once that is known
        self.owed = collections.Counter()

    def begin(self):
        """One more; None if it fails at once."""
        stream = socket.socket(self.family, socket.SOCK_STREAM)
        stream.setblocking(False)
        if self.source:
            stream.bind((self.source, 0))
        error = stream.connect_ex(self.target)
        if error not in (0, errno.EINPROGRESS):
            stream.close()
            raise OSError(error, "connect")
        self.streams[stream.fileno()] = stream
        self.owed[stream.fileno()] = NAME
        self.poll.register(stream, select.EPOLLIN)
        return stream.fileno()

    def drop(self, fd):
        self.poll.unregister(fd)
        self.streams.pop(fd).close()
        self.owed.pop(fd, None)
        return self.names.pop(fd, "?")

    def wait(self, fds, deadline):
        """Until none of them owes us anything; yields those that are done or broken."""
        fds = {fd for fd in fds if self.owed[fd]}
        while fds and time.monotonic() < deadline:
            for fd, _ in self.poll.poll(0.1, 1024):
                try:
                    data = self.streams[fd].recv(64)
                except BlockingIOError:
                    continue
                except OSError as error:
                    data = b""
                    yield fd, error
                if data:
                    self.owed[fd] -= len(data)
                    if fd not in self.names:
                        self.names[fd] = data.decode().strip()
                    if self.owed[fd] > 0 or fd not in fds:
                        continue
                    yield fd, None
                elif fd in self.streams:
                    yield fd, OSError(errno.EPIPE, "ended")
                fds.discard(fd)
            yield None, None

    def open(self, number, rate=1e9):
        by, errors, waiting, left = collections.Counter(), collections.Counter(), set(), number
        broken = collections.Counter()
        start = time.monotonic()
        deadline = start + number / rate + DEADLINE

        def may_begin():
            return left and len(waiting) < IN_FLIGHT and \
                number - left < (time.monotonic() - start) * rate + 1

        while (left or waiting) and time.monotonic() < deadline:
            while may_begin():
                left -= 1
                try:
                    waiting.add(self.begin())
                except OSError as error:
                    errors[str(error)] += 1
            for fd, error in self.wait(waiting, deadline):
                if fd is None and may_begin():
                    break
                if fd is None:
                    continue
                if error and fd not in waiting:
                    broken[self.drop(fd)] += 1
                elif error:
                    errors[str(error)] += 1
                    self.drop(fd)
                else:
                    by[self.names[fd]] += 1
                waiting.discard(fd)
        for fd in waiting:
            errors["no answer"] += 1
            self.drop(fd)
        return {"opened": sum(by.values()), "failed": sum(errors.values()) + left,
                "errors": errors, "by": by, "broken": broken}

    def check(self, names):
        ours = [fd for fd in self.streams if not names or self.names[fd] in names]
        broken, wanted = collections.Counter(), set(ours)
        for fd in ours:
            try:
                if not self.owed[fd]:
                    self.owed[fd] += self.streams[fd].send(b"x")
            except OSError:
                broken[self.drop(fd)] += 1
                wanted.discard(fd)
        for fd, error in self.wait(wanted, time.monotonic() + DEADLINE):
            if error:
                broken[self.drop(fd)] += 1
                wanted.discard(fd)
        silent = collections.Counter(self.names[fd] for fd in wanted if self.owed[fd])
        alive = collections.Counter(self.names[fd] for fd in wanted)
        return {"alive": alive - silent, "broken": broken, "silent": silent}

    def ports(self):
        return {"ports": [s.getsockname()[1] for s in self.streams.values()]}


def hold(args):
    holder = Holder(args)
    print("ready", flush=True)
    # Open for writing, too: a fifo ends when nobody writes to it any more.
    with open(args.commands, encoding="ascii",
              opener=lambda path, _: os.open(path, os.O_RDWR | os.O_CLOEXEC)) as commands:
        for line in commands:
            verb, *words = line.split()
            if verb == "open":
                answer = holder.open(*map(int, words))
            elif verb == "check":
                answer = holder.check(words)
            else:
                answer = holder.ports()
            print(json.dumps(answer), flush=True)


def main():
    allow_files()
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    server = verbs.add_parser("serve")
    server.add_argument("name")
    server.add_argument("port", type=int)
    server.add_argument("addresses", nargs="+")
    holder = verbs.add_parser("hold")
    holder.add_argument("commands")
    holder.add_argument("address")
    holder.add_argument("port", type=int)
    holder.add_argument("--from", dest="source")
    args = parser.parse_args()
    return serve(args) if args.verb == "serve" else hold(args)


main()
