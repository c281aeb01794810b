#!/usr/bin/env python3
"""Plays the data plane for global_recipe.sh: opens the port's TAP in two hosts and
carries what is for the global address to the TAP of its owner.

    global_pump.py TAP V4 V6 STATE NETNS NETNS

STATE/owner names the owner: 0 or 1, the first host or the second; "none" drops all.
STATE/seen has, whenever nothing moves, a count per kind: "HOST KIND NUMBER", with KIND
one of v4, v6, arp, other, super (frames that are longer than 1514), tagged, neighbour.
"""
import collections
import ctypes
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
CSUM, TSO4, TSO6, USO4, USO6 = 1, 2, 4, 0x20, 0x40
SIOCGIFHWADDR = 0x8927
CLONE_NEWNET = 0x40000000
VNET, ETH = 10, 14


def tap_open(netns, name):
    """The port, its checksums and super-frames left to us, in that host."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/run/netns/" + netns, encoding="ascii") as place:
        if libc.setns(place.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
    fcntl.ioctl(tap, TUNSETVNETHDRSZ, struct.pack("i", VNET))
    fcntl.ioctl(tap, TUNSETOFFLOAD, CSUM | TSO4 | TSO6)
    asked = struct.pack("16s16x", name.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return tap, fcntl.ioctl(any_socket, SIOCGIFHWADDR, asked)[18:24]


def untagged(frame):
    """Without VLAN tags, the checksum's place moved along; and how many there were."""
    tags = 0
    while frame[VNET + 12 : VNET + 14] in (b"\x81\x00", b"\x88\xa8"):
        flags, gso, header, size, start, offset = struct.unpack_from("<BBHHHH", frame)
        start = max(start - 4, 0)
        frame = (
            struct.pack("<BBHHHH", flags, gso, header, size, start, offset)
            + frame[VNET : VNET + 12]
            + frame[VNET + 16 :]
        )
        tags += 1
    return frame, tags


def kind_of(frame, addresses):
    ethertype, l3 = frame[VNET + 12 : VNET + 14], VNET + ETH
    if ethertype == b"\x08\x00" and frame[l3 + 16 : l3 + 20] == addresses[0]:
        return "v4"
    if ethertype == b"\x86\xdd" and frame[l3 + 24 : l3 + 40] == addresses[1]:
        is_icmp = frame[l3 + 6] == 58
        return "neighbour" if is_icmp and frame[l3 + 40] in (135, 136) else "v6"
    return "arp" if ethertype == b"\x08\x06" else "other"


def main():
    name, v4, v6, state = sys.argv[1:5]
    addresses = socket.inet_aton(v4), socket.inet_pton(socket.AF_INET6, v6)
    taps = [tap_open(netns, name) for netns in sys.argv[5:7]]
    seen = collections.Counter()
    dispatcher = bytes.fromhex("02530000ffff")
    while True:
        ready = select.select([tap for tap, _ in taps], [], [], 0.02)[0]
        if not ready:
            with open(state + "/seen.new", "w", encoding="ascii") as file:
                file.writelines(f"{h} {k} {n}\n" for (h, k), n in sorted(seen.items()))
            os.rename(state + "/seen.new", state + "/seen")
        with open(state + "/owner", encoding="ascii") as file:
            owner = file.read().strip()
        for tap in ready:
            host = [one for one, _ in taps].index(tap)
            frame, tags = untagged(os.read(tap, 70000))
            kind = kind_of(frame, addresses)
            seen[host, kind] += 1
            seen[host, "tagged"] += tags
            seen[host, "super"] += len(frame) > VNET + 1514
            if kind in ("v4", "v6") and owner != "none":
                to, mac = taps[int(owner)]
                os.write(to, frame[:VNET] + mac + dispatcher + frame[VNET + 12 :])


main()
