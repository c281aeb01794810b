#!/usr/bin/env python3
"""One call's worth of UDP datagrams: sent with UDP_SEGMENT, received and compared.

    udp_gso.py send ADDRESS PORT SIZE SEGMENT [INTERFACE]
    udp_gso.py receive ADDRESS PORT SIZE SEGMENT [--gro] [--join GROUP INTERFACE]

SIZE bytes in datagrams of SEGMENT, the last one shorter. The receiver binds to
ADDRESS, prints how many calls it took, and fails if a datagram is missing, has
another length or other content. With --gro it asks for several in one call.
"""
import argparse
import random
import socket
import struct
import sys

UDP_SEGMENT = 103
UDP_GRO = 104
DEADLINE = 10.0


def content(size):
    return random.Random(size).randbytes(size)


def open_socket(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    out = socket.socket(family, socket.SOCK_DGRAM)
    out.settimeout(DEADLINE)
    return out


def choose_interface(out, name):
    index = socket.if_nametoindex(name)
    if out.family == socket.AF_INET6:
        out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF,
                       struct.pack("=4s4si", bytes(4), bytes(4), index))


def join(into, group, name):
    index = socket.if_nametoindex(name)
    address = socket.inet_pton(into.family, group)
    if into.family == socket.AF_INET6:
        into.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP,
                        address + struct.pack("=i", index))
    else:
        into.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                        struct.pack("=4s4si", address, bytes(4), index))


def send(options):
    out = open_socket(options.address)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if options.interface:
        choose_interface(out, options.interface)
    out.setsockopt(socket.SOL_UDP, UDP_SEGMENT, options.segment)
    out.sendto(content(options.size), (options.address, options.port))


def take(into):
    """The datagrams of one call."""
    data, extra, _, _ = into.recvmsg(65536, socket.CMSG_SPACE(4))
    length = len(data)
    for level, kind, value in extra:
        if level == socket.SOL_UDP and kind == UDP_GRO:
            length = struct.unpack("=i", value)[0]
    return [data[i:i + length] for i in range(0, len(data), length)]


def receive(options):
    into = open_socket(options.address)
    if options.gro:
        into.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
    if options.join:
        join(into, *options.join)
    into.bind((options.address, options.port))
    expected, datagrams, calls = content(options.size), [], 0
    for at in range(0, options.size, options.segment):
        if not datagrams:
            datagrams, calls = take(into), calls + 1
        if datagrams.pop(0) != expected[at:at + options.segment]:
            sys.exit(f"the datagram at byte {at} is another one")
    if datagrams:
        sys.exit(f"{len(datagrams)} datagrams more")
    print(f"calls: {calls}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["send", "receive"])
    parser.add_argument("address")
    for name in ("port", "size", "segment"):
        parser.add_argument(name, type=int)
    parser.add_argument("interface", nargs="?")
    parser.add_argument("--gro", action="store_true")
    parser.add_argument("--join", nargs=2)
    options = parser.parse_args()
    if options.what == "send":
        send(options)
    else:
        receive(options)


main()
