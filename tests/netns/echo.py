#!/usr/bin/env python3
"""A service that says who serves, by TCP and UDP at one port, or by SCTP.

    echo.py serve NAME ADDRESS PORT [--sctp]
    echo.py ask tcp|udp|sctp ADDRESS PORT [--from ADDRESS] [--timeout SECONDS]
            [--size BYTES] [--tries N]

To what it is sent, the server answers "NAME PEER " and the same bytes. A client prints
NAME and PEER, its own address as the server saw it, and fails if other bytes come back.
By UDP it may ask several times, each for the timeout, as datagrams may be lost.
The server prints "ready" when it can be asked.
"""
import argparse
import os
import selectors
import socket
import sys


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def make_answer(name, peer, data):
    return f"{name} {peer[0]} ".encode() + data


def take_datagram(server, name):
    data, peer = server.recvfrom(65536)
    server.sendto(make_answer(name, peer, data), peer)


def take_stream(stream, name, selector, peer):
    data = stream.recv(65536)
    if data:
        stream.sendall(make_answer(name, peer, data))
        return
    selector.unregister(stream)
    stream.close()


def take_connection(server, name, selector):
    stream, peer = server.accept()
    selector.register(stream, selectors.EVENT_READ,
                      lambda: take_stream(stream, name, selector, peer))


def open_socket(address, protocol):
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    number = socket.IPPROTO_SCTP if protocol == "sctp" else 0
    return socket.socket(family_of(address), kind, number)


def serve(args):
    selector = selectors.DefaultSelector()
    stream = open_socket(args.address, "sctp" if args.sctp else "tcp")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stream.bind((args.address, args.port))
    stream.listen(1024)
    selector.register(stream, selectors.EVENT_READ,
                      lambda: take_connection(stream, args.name, selector))
    if not args.sctp:
        udp = open_socket(args.address, "udp")
        udp.bind((args.address, args.port))
        selector.register(udp, selectors.EVENT_READ,
                          lambda: take_datagram(udp, args.name))
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                key.data()
            except OSError:  # of one client
                pass


def receive(client, protocol, least):
    if protocol == "udp":
        return client.recv(65536)
    data = b""
    while len(data) < least or data.count(b" ") < 2:
        part = client.recv(65536)
        if not part:
            break
        data += part
    return data


def ask_again(client, protocol, sent, tries):
    while True:
        tries -= 1
        client.sendall(sent)
        try:
            return receive(client, protocol, len(sent))
        except TimeoutError:
            if protocol != "udp" or tries <= 0:
                raise


def ask(args):
    client = open_socket(args.address, args.protocol)
    client.settimeout(args.timeout)
    sent = os.urandom(args.size).hex().encode()[:args.size]
    try:
        if args.source:
            client.bind((args.source, 0))
        client.connect((args.address, args.port))
        data = ask_again(client, args.protocol, sent, args.tries)
    except OSError as error:
        print(f"{args.protocol} {args.address} {args.port}: {error}")
        return 1
    name, peer, echoed = data.split(b" ", 2)
    print(name.decode(), peer.decode())
    return 0 if echoed == sent else 1


def main():
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    server = verbs.add_parser("serve")
    server.add_argument("name")
    server.add_argument("--sctp", action="store_true")
    client = verbs.add_parser("ask")
    client.add_argument("protocol", choices=("tcp", "udp", "sctp"))
    for verb in (server, client):
        verb.add_argument("address")
        verb.add_argument("port", type=int)
    client.add_argument("--from", dest="source")
    client.add_argument("--timeout", type=float, default=5)
    client.add_argument("--size", type=int, default=64)
    client.add_argument("--tries", type=int, default=1)
    args = parser.parse_args()
    return serve(args) if args.verb == "serve" else ask(args)


if __name__ == "__main__":
    sys.exit(main())
