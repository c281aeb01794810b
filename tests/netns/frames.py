#!/usr/bin/env python3
"""Puts frames of one kind on an interface, as a program with CAP_NET_RAW can.

    frames.py INTERFACE DESTINATION SOURCE TYPE LENGTH COUNT

TYPE in hex, LENGTH in bytes with the 14 of the header. Prints how many were taken.
"""
import errno
import socket
import sys
import time


def mac(text):
    return bytes(int(part, 16) for part in text.split(":"))


def main():
    name, destination, source, ethertype, length, count = sys.argv[1:]
    frame = mac(destination) + mac(source) + int(ethertype, 16).to_bytes(2, "big")
    frame = frame.ljust(int(length), b"\0")[: int(length)]
    out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    out.bind((name, 0))
    taken = 0
    for i in range(int(count)):
        try:
            out.send(frame)
            taken += 1
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
        if i % 64 == 63:
            time.sleep(0.001)  # a TAP drops what is not read after 1,000 frames
    print(taken)


main()
