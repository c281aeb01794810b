#!/usr/bin/env python3
"""How long a path is dead: a datagram every millisecond, and one TCP connection.

    gap.py serve PORT ADDRESS...
    gap.py ask [--tick MS] COMMANDS ADDRESS PORT

The server sends back what it gets, by UDP and by TCP. Who asks sends a datagram every
millisecond, or MS, and over TCP the next byte as long after the last one came back. It
reads commands from the file COMMANDS, and answers each by a line of JSON:

    mark    {}: from now on
    gap     {"udp", "tcp": ms}, the longest time since then without an answer that was
            due, until now if that one still lasts; and {"udp_lost"}: datagrams that
            never came back; {"udp_now", "tcp_now": ms}, for how long each has been
            silent; {"broken"}: the connection ended
"""
import argparse
import json
import os
import select
import socket
import time


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(args):
    poll, ends = select.epoll(), {}

    def watch(end):
        end.setblocking(False)
        ends[end.fileno()] = end
        poll.register(end, select.EPOLLIN)

    listeners = set()
    for address in args.addresses:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            end = socket.socket(family_of(address), kind)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind((address, args.port))
            watch(end)
            if kind == socket.SOCK_STREAM:
                end.listen()
                listeners.add(end.fileno())
    print("ready", flush=True)
    while True:
        for fd, _ in poll.poll():
            end = ends[fd]
            try:
                if fd in listeners:
                    watch(end.accept()[0])
                    continue
                data, peer = end.recvfrom(64)
                if peer:
                    end.sendto(data, peer)
                elif data:
                    end.send(data)
                else:
                    ends.pop(fd).close()
            except OSError:
                pass


class Way:
    """The times of answers on one way; silent while none is due."""

    def __init__(self):
        self.mark()

    def mark(self):
        self.last = time.monotonic()
        self.most = 0

    def note(self):
        now = time.monotonic()
        self.most = max(self.most, now - self.last)
        self.last = now

    def silence(self):
        return round((time.monotonic() - self.last) * 1000, 1)

    def gap(self):
        return max(round(self.most * 1000, 1), self.silence())


class Asker:
    def __init__(self, args):
        target = (args.address, args.port)
        self.udp = socket.socket(family_of(args.address), socket.SOCK_DGRAM)
        self.udp.connect(target)
        self.udp.setblocking(False)
        self.tcp = socket.create_connection(target)
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tcp.setblocking(False)
        self.every = args.tick
        self.sent, self.got = 0, set()
        self.marked, self.owed, self.broken = 0, False, False
        self.udp_way, self.tcp_way = Way(), Way()

    def tick(self):
        try:
            self.udp.send(str(self.sent).encode())
        except OSError:  # refused, or no route: as good as lost
            pass
        self.sent += 1
        if not self.owed and not self.broken:
            self.tcp.send(b"x")
            self.owed = True

    def read_udp(self):
        try:
            while True:
                self.got.add(int(self.udp.recv(64)))
                self.udp_way.note()
        except OSError:
            pass

    def read_tcp(self):
        try:
            if not self.tcp.recv(64):
                raise OSError("ended")
            self.owed = False
            self.tcp_way.note()
        except BlockingIOError:
            pass
        except OSError:
            self.broken = True

    def mark(self):
        self.marked = self.sent
        self.got.clear()
        self.udp_way.mark()
        self.tcp_way.mark()
        return {}

    def gap(self):
        """What was sent in the last 100 ms may still come back."""
        due = range(self.marked, self.sent - 100 // self.every)
        return {"udp": self.udp_way.gap(), "tcp": self.tcp_way.gap(), "broken": self.broken,
                "udp_lost": sum(n not in self.got for n in due),
                "udp_now": self.udp_way.silence(), "tcp_now": self.tcp_way.silence()}

    def obey(self, line):
        print(json.dumps(self.mark() if line.strip() == "mark" else self.gap()), flush=True)


def ask(args):
    asker = Asker(args)
    commands = os.open(args.commands, os.O_RDWR | os.O_NONBLOCK)
    poll = select.epoll()
    for end in (asker.udp, asker.tcp, commands):
        poll.register(end, select.EPOLLIN)
    due = time.monotonic()
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        if now >= due:
            asker.tick()
            due = max(due + args.tick / 1000, now)
        for fd, _ in poll.poll(max(due - now, 0)):
            if fd == commands:
                for line in os.read(commands, 4096).decode().splitlines():
                    asker.obey(line)
            elif fd == asker.udp.fileno():
                asker.read_udp()
            else:
                asker.read_tcp()
                if asker.broken:
                    poll.unregister(asker.tcp)


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    server = verbs.add_parser("serve")
    server.add_argument("port", type=int)
    server.add_argument("addresses", nargs="+")
    asker = verbs.add_parser("ask")
    asker.add_argument("--tick", type=int, default=1)
    asker.add_argument("commands")
    asker.add_argument("address")
    asker.add_argument("port", type=int)
    args = parser.parse_args()
    return serve(args) if args.verb == "serve" else ask(args)


main()
