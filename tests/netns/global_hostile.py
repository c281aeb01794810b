#!/usr/bin/env python3
"""Frames that no honest host sends, for a global address.

    global_hostile.py INTERFACE TO_MAC CLIENT CLIENT6 GLOBAL GLOBAL6 PORT KIND

KIND is one of packets (headers that contradict each other, addresses that may not be
there), fragments (that overlap, or have no end), garbage (random bytes behind addresses
that are right). Prints how many were sent.
"""
import random
import socket
import struct
import sys

MORE = 0x2000
ENDLESS = 20000
GARBAGE = 20000


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 65535) + (total >> 16)
    return ~total & 65535


class Sender:
    def __init__(self, name, mac, *words):
        self.lan = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.lan.bind((name, 0))
        self.ethernet = bytes.fromhex(mac.replace(":", "")) + self.lan.getsockname()[4]
        self.client, self.client6, self.to, self.to6 = (
            socket.inet_pton(socket.AF_INET6 if ":" in word else socket.AF_INET, word)
            for word in words[:4])
        self.port = int(words[4])
        self.sent = 0

    def send(self, ethertype, packet):
        self.lan.send((self.ethernet + struct.pack("!H", ethertype) + packet)[:1514])
        self.sent += 1

    def ip4(self, body, protocol=6, source=None, **odd):
        length = odd.get("length", 20 + len(body))
        head = struct.pack("!BBHHHBBH4s4s", odd.get("version", 69), 0, length,
                           odd.get("ident", 1), odd.get("offset", 0), 64, protocol, 0,
                           source or self.client, self.to)
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
        self.send(odd.get("ethertype", 0x0800), (head + body)[: odd.get("cut", 1500)])

    def ip6(self, body, following=6, **odd):
        head = struct.pack("!IHBB", odd.get("version", 6 << 28),
                           odd.get("length", len(body)), following, 64)
        source = odd.get("source", self.client6)
        self.send(0x86DD, (head + source + self.to6 + body)[: odd.get("cut", 1500)])

    def tcp(self, flags=2, offset=5, source_port=4000):
        return struct.pack("!HHIIBBHHH", source_port, self.port, 1, 0, offset << 4, flags,
                           1000, 0, 0)


def send_packets(to):
    for cut in range(0, 40):
        to.ip4(to.tcp(), cut=cut)
        to.ip6(to.tcp(), cut=cut + 20)
    for version in (0x40, 0x41, 0x44, 0x4F, 0x55, 0x65, 0x05, 0xF5):
        to.ip4(to.tcp(), version=version)
    for length in (0, 10, 19, 21, 39, 41, 1000, 65535):
        to.ip4(to.tcp(), length=length)
        to.ip6(to.tcp(), length=length)
    for offset in (0, 1, 4, 6, 15):
        to.ip4(to.tcp(offset=offset))
        to.ip6(to.tcp(offset=offset))
    for flags in range(64):
        to.ip4(to.tcp(flags=flags))
    for source in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"):
        to.ip4(to.tcp(), source=socket.inet_aton(source))
    for source in ("::", "::1", "ff02::1", "::ffff:198.51.100.7"):
        to.ip6(to.tcp(), source=socket.inet_pton(socket.AF_INET6, source))
    to.ip4(to.tcp(source_port=to.port), source=to.to)  # land
    to.ip6(to.tcp(source_port=to.port), source=to.to6)
    for protocol in (0, 2, 41, 50, 51, 103, 255):
        to.ip4(bytes(40), protocol)
        to.ip6(bytes(40), protocol)
    send_extensions(to)
    send_errors(to)


def send_extensions(to):
    for number in (1, 8, 9, 60):
        to.ip6((bytes([60, 0]) + bytes(6)) * number + bytes([6, 0]) + bytes(6) + to.tcp(), 60)
    to.ip6(bytes([0, 0]) + bytes(6) + bytes([6, 0]) + bytes(6) + to.tcp(), 60)
    to.ip6(bytes([6, 255]) + bytes(6), 60)
    for kind in range(5):
        to.ip6(bytes([6, 2, kind, 1]) + bytes(20) + to.tcp(), 43)
    to.ip6(bytes([44, 0]) + bytes(6) + bytes([44, 0, 0, 1]) + bytes(4) + bytes(8), 44)


def send_errors(to):
    inner = struct.pack("!BBHHHBBH4s4s", 69, 0, 40, 1, 0, 64, 6, 0, to.to, to.client)
    for length in range(0, 40, 3):
        body = struct.pack("!BBHI", 3, 4, 0, 68) + (inner + to.tcp())[:length]
        to.ip4(body[:2] + struct.pack("!H", checksum(body)) + body[4:], 1)
    strange = inner[:12] + to.client + to.client + to.tcp()
    for kind in (3, 4, 5, 11, 12):
        to.ip4(struct.pack("!BBHI", kind, 1, 0, 0) + strange, 1)
        to.ip6(struct.pack("!BBHI", kind, 0, 0, 1280) + bytes(48), 58)


def send_fragments(to):
    udp = struct.pack("!HHHH", 5, to.port, 3008, 0) + bytes(1472)
    for ident in range(2, 200):
        to.ip4(udp, 17, ident=ident, offset=MORE)
        to.ip4(udp[:800], 17, ident=ident, offset=MORE | 10)  # overlaps
        to.ip4(struct.pack("!HHHH", 9, 9, 3008, 0), 17, ident=ident, offset=MORE)
    for ident in range(200, 300):
        to.ip4(udp[:8], 17, ident=ident, offset=MORE)  # tiny, and never more
        to.ip4(udp[:4], 17, ident=ident, offset=MORE)
        to.ip4(b"", 17, ident=ident, offset=MORE)
        to.ip4(udp[:1001], 17, ident=ident, offset=MORE)
        to.ip4(udp, 17, ident=ident, offset=8191)  # beyond 65,535
        head = struct.pack("!BBHI", 17, 0, 0xFFF9, ident)
        to.ip6(head + udp[:1000], 44)
        to.ip6(struct.pack("!BBHI", 17, 0, 1, ident) + udp[:4], 44)
    for number in range(ENDLESS):
        to.ip4(udp[:16], 17, ident=1, offset=MORE | number % 8000)
        to.ip6(struct.pack("!BBHI", 17, 0, number % 8000 << 3 | 1, 1) + udp[:16], 44)


def send_garbage(to):
    for _ in range(GARBAGE):
        body = random.randbytes(random.randrange(200))
        if random.randrange(2):
            to.ip4(body, random.randrange(256), offset=random.getrandbits(16))
        else:
            to.ip6(body, random.choice((0, 6, 17, 43, 44, 58, 60, 132, random.randrange(256))))


def main():
    kinds = {"packets": send_packets, "fragments": send_fragments, "garbage": send_garbage}
    to = Sender(*sys.argv[1:8])
    kinds[sys.argv[8]](to)
    print(to.sent)


main()
