#!/usr/bin/env python3
"""Asks the mDNS group for a host's IPv4 address, and prints the first answer.

    mdns.py OWN-ADDRESS NAME SECONDS

Asks from port 5353, as responders do among themselves, so that question and answer both
go to 224.0.0.251. Exit 1 if nobody answers.
"""
import socket
import struct
import sys

GROUP = "224.0.0.251"


def encode(name):
    return b"".join(bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0"


def find_address(packet, name):
    """Responders write the name out in the first answer, so no pointers are followed."""
    flags, _, answers = struct.unpack("!HHH", packet[2:8])
    record = packet.find(encode(name) + struct.pack("!H", 1))
    if not flags & 0x8000 or not answers or record < 0:
        return None
    at = record + len(encode(name)) + 8  # type, class, time to live
    length = struct.unpack("!H", packet[at : at + 2])[0]
    return socket.inet_ntoa(packet[at + 2 : at + 6]) if length == 4 else None


def main():
    own, name, seconds = sys.argv[1:]
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", 5353))
    interface = socket.inet_aton(own)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    sock.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface
    )
    sock.settimeout(float(seconds))
    question = struct.pack("!6H", 0, 0, 1, 0, 0, 0) + encode(name) + struct.pack("!HH", 1, 1)
    sock.sendto(question, (GROUP, 5353))
    while True:
        address = find_address(sock.recv(9000), name)
        if address:
            print(address)
            return


try:
    main()
except TimeoutError:
    sys.exit("nobody answers")
