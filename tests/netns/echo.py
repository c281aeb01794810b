#!/usr/bin/env python3
"""A service that says who serves, by TCP and UDP at one port.

    echo.py serve NAME ADDRESS PORT
    echo.py ask tcp|udp ADDRESS PORT [--from ADDRESS] [--timeout SECONDS] [--size BYTES]

To what it is sent, the server answers "NAME PEER " and the same bytes. A client prints
NAME and PEER, its own address as the server saw it, and fails if other bytes come back.
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


def serve(args):
    selector = selectors.DefaultSelector()
    family = family_of(args.address)
    tcp = socket.socket(family, socket.SOCK_STREAM)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for server in (tcp, udp):
        server.bind((args.address, args.port))
    tcp.listen(1024)
    selector.register(tcp, selectors.EVENT_READ,
                      lambda: take_connection(tcp, args.name, selector))
    selector.register(udp, selectors.EVENT_READ, lambda: take_datagram(udp, args.name))
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


def ask(args):
    kind = socket.SOCK_STREAM if args.protocol == "tcp" else socket.SOCK_DGRAM
    client = socket.socket(family_of(args.address), kind)
    client.settimeout(args.timeout)
    sent = os.urandom(args.size).hex().encode()[:args.size]
    try:
        if args.source:
            client.bind((args.source, 0))
        client.connect((args.address, args.port))
        client.sendall(sent)
        data = receive(client, args.protocol, args.size)
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
    client = verbs.add_parser("ask")
    client.add_argument("protocol", choices=("tcp", "udp"))
    for verb in (server, client):
        verb.add_argument("address")
        verb.add_argument("port", type=int)
    client.add_argument("--from", dest="source")
    client.add_argument("--timeout", type=float, default=5)
    client.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    return serve(args) if args.verb == "serve" else ask(args)


if __name__ == "__main__":
    sys.exit(main())
