#!/usr/bin/env python3
"""Who answers for an address: the MACs in the answers to one ARP request.

    global_who.py INTERFACE SENDER TARGET

SENDER 0.0.0.0 makes it a probe. Waits half a second for all answers.
"""
import socket
import sys
import time

WAIT = 0.5


def main():
    name, sender, target = sys.argv[1], *map(socket.inet_aton, sys.argv[2:])
    lan = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x806))
    lan.bind((name, 0x806))
    mac = lan.getsockname()[4]
    head = bytes.fromhex("0806" "0001080006040001")
    lan.send(b"\xff" * 6 + mac + head + mac + sender + bytes(6) + target)
    end, found = time.monotonic() + WAIT, set()
    while (left := end - time.monotonic()) > 0:
        lan.settimeout(left)
        try:
            frame = lan.recv(2048)
        except TimeoutError:
            break
        if frame[20:22] == b"\0\2" and frame[28:32] == target:
            found.add(frame[22:28].hex(":"))
    for one in sorted(found):
        print(one)


main()
