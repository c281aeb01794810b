#!/usr/bin/env python3
"""Datagrams to a service of several nodes.

    global_udp.py serve NAME ADDRESS PORT
    global_udp.py ask ADDRESS PORT [--clients N] [--size BYTES] [--order ORDER]

The server answers with its name and the same bytes. `ask` is N clients, of which each
sends five datagrams of the size and wants each answered, by one and the same node; it
asks three times, as UDP may lose one on a busy machine. With an ORDER (forward,
backward, shuffled) it cuts them into fragments by itself and sends these so.
"""
import argparse
import itertools
import os
import random
import socket
import struct
import sys

TRIES = 3
PART = 1232  # of a fragment: a multiple of 8 that fits the least MTU of IPv6


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(args):
    server = socket.socket(family_of(args.address), socket.SOCK_DGRAM)
    server.bind((args.address, args.port))
    name = args.name.encode().ljust(8)
    while True:
        data, peer = server.recvfrom(65536)
        server.sendto(name + data, peer)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 65535) + (total >> 16)
    return ~total & 65535 or 65535


def datagram(client, target, data):
    """The UDP header with it, the checksum filled in."""
    family = client.family
    source, port = client.getsockname()[:2]
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, target[0])
    header = struct.pack("!HHH", port, target[1], 8 + len(data))
    pseudo = ends + struct.pack("!IHBB", 8 + len(data), 0, 0, socket.IPPROTO_UDP)
    return header + struct.pack("!H", checksum(pseudo + header + b"\0\0" + data)) + data


# As a host counts: none is used again while fragments of the one before may be about.
IDENTS = itertools.count(random.getrandbits(16))


def fragments_of(family, whole):
    ident = next(IDENTS) & 65535
    for at in range(0, len(whole), PART):
        part, more = whole[at : at + PART], at + PART < len(whole)
        if family == socket.AF_INET:
            # The kernel fills in length, checksum and source.
            yield struct.pack("!BBHHHBBH4s4s", 69, 0, 0, ident, more << 13 | at >> 3, 64,
                              socket.IPPROTO_UDP, 0, bytes(4), bytes(4)) + part
        else:
            yield struct.pack("!BBHI", socket.IPPROTO_UDP, 0, at | more, ident) + part


def send_fragments(client, target, data, order):
    family = client.family
    is_ip4 = family == socket.AF_INET
    raw = socket.socket(family, socket.SOCK_RAW,
                        socket.IPPROTO_RAW if is_ip4 else socket.IPPROTO_FRAGMENT)
    parts = list(fragments_of(family, datagram(client, target, data)))
    if order == "backward":
        parts.reverse()
    elif order == "shuffled":
        random.shuffle(parts)
    for part in parts:
        if is_ip4:
            part = part[:16] + socket.inet_aton(target[0]) + part[20:]
        raw.sendto(part, (target[0], 0))
    raw.close()


def exchange(client, target, data, order):
    """What came back; once more if nothing does."""
    for left in reversed(range(TRIES)):
        if order:
            send_fragments(client, target, data, order)
        else:
            client.send(data)
        try:
            return client.recv(65536)
        except TimeoutError:
            if not left:
                raise


def run_client(args):
    """The name of the node that serves it; an exception if anything is wrong."""
    client = socket.socket(family_of(args.address), socket.SOCK_DGRAM)
    client.settimeout(2)
    target = (args.address, args.port)
    client.connect(target)
    names = set()
    for _ in range(5):
        data = os.urandom(args.size)
        answer = exchange(client, target, data, args.order)
        while answer[8:] != data and answer[8:] in args.sent:  # late, of the one before
            answer = client.recv(65536)
        args.sent.append(data)
        if answer[8:] != data:
            raise ValueError("other bytes came back")
        names.add(answer[:8].decode().strip())
    if len(names) != 1:
        raise ValueError(f"served by {sorted(names)}")
    return names.pop()


def ask(args):
    served = {}
    for _ in range(args.clients):
        try:
            name = run_client(args)
        except (OSError, ValueError) as error:
            print(f"{args.address}: {error}")
            return 1
        served[name] = served.get(name, 0) + 1
    print(served)
    return 0 if args.clients == 1 or len(served) > 1 else 1


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    server = verbs.add_parser("serve")
    server.add_argument("name")
    client = verbs.add_parser("ask")
    for verb in (server, client):
        verb.add_argument("address")
        verb.add_argument("port", type=int)
    client.add_argument("--clients", type=int, default=1)
    client.add_argument("--size", type=int, default=100)
    client.add_argument("--order", choices=("forward", "backward", "shuffled"))
    args = parser.parse_args()
    args.sent = []
    return serve(args) if args.verb == "serve" else ask(args)


if __name__ == "__main__":
    sys.exit(main())
