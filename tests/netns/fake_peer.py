#!/usr/bin/env python3
"""A node that breaks one rule of the handshake, against proto/peer.proto.

    fake_peer.py dial SOCKET CASE      connects to a node's rendezvous socket, as id 1
    fake_peer.py listen SOCKET CASE    waits for a node to connect, as id 9

The messages are encoded here by hand, so that wrong ones can be. Prints what the node
answers: "REFUSE <words>", or "closed", or "up" if it is content.
"""
import array
import fcntl
import os
import socket
import sys

TIMEOUT = 10
RING_SIZE = 256 << 10
HEADER = 4096  # before the ring's bytes, see include/shmnet/ring.h
ADD_SEALS = 1033
SHRINK, GROW, SEAL = 2, 4, 1
NAMES = {1: "HELLO", 2: "READY", 3: "RING", 4: "BELL", 5: "INCARNATION", 6: "REFUSE"}
NAMES |= {7: "PROBE", 8: "PROBED", 9: "CAST", 10: "READS", 11: "WANT"}
NAMES |= {12: "LOOK", 13: "PAUSE"}


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def number(field, n):
    return varint(field << 3) + varint(n)


def fixed(field, n):
    return varint(field << 3 | 1) + n.to_bytes(8, "little")


def text(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def hello(ident, version=6, cluster="default", name=None, networks=(("lan0", 1500),)):
    nonce = int.from_bytes(os.urandom(8), "little")
    body = number(1, version) + text(2, cluster) + text(3, name or f"fake{ident}")
    body += number(4, ident) + fixed(5, nonce)
    for network, mtu in networks:
        body += text(6, text(1, network) + number(2, 0) + number(3, mtu) + number(6, 0) +
                     number(7, 7))
    return text(1, body)


def ready(floor=0, incarnation=1, beat_ms=200):
    return text(2, number(1, floor) + number(2, incarnation) + number(3, beat_ms))


def ring(network="lan0", size=RING_SIZE):
    body = text(1, network) + number(2, size) + fixed(3, 0x1234567) + number(4, 1)
    return text(3, body)


def cast(network="lan0", ident=1, depth=256, epoch=5, maker=1, lane=0):
    body = text(1, network) + fixed(2, ident) + number(3, depth)
    body += fixed(4, (1 << 48) - 1) + number(5, epoch) + number(6, maker) + number(7, lane)
    return text(9, body)


def bell():
    return text(4, b"")


def memory(length=HEADER + RING_SIZE, seals=SHRINK | GROW | SEAL):
    fd = os.memfd_create("ring", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    os.ftruncate(fd, length)
    if seals:
        fcntl.fcntl(fd, ADD_SEALS, seals)
    return fd


def send(channel, message, *fds):
    control = []
    if fds:
        rights = array.array("i", fds)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    try:
        channel.sendmsg([message], control)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has refused us already, and says why


def receive(channel):
    """The type of the next message and its body; None at the end."""
    data, _, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
    if not data:
        return None
    kind = NAMES[data[0] >> 3]
    at = 1
    length = shift = 0
    while True:
        length |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return kind, data[at : at + length]


def words_of(body):
    """Field 2 of a Refuse."""
    at = body.index(b"\x12")
    length, at = body[at + 1], at + 2
    if length > 127:
        length, at = length & 127 | body[at] << 7, at + 1
    return body[at : at + length].decode()


def await_verdict(channel):
    """What the node says at last; READY alone means that it is content."""
    content = False
    channel.settimeout(TIMEOUT)
    while True:
        try:
            message = receive(channel)
        except ConnectionResetError:
            continue  # what it did not read; what it said comes after that
        except TimeoutError:
            return "up" if content else "no answer"
        if message is None:
            return "closed"
        kind, body = message
        if kind == "REFUSE":
            return "REFUSE " + words_of(body)
        if kind == "READY":
            content = True
            channel.settimeout(1.0)


def send_bell(channel):
    """The end at which the node rings us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    send(channel, bell(), theirs.fileno())
    return ours


def offer(channel, message, *fds, ident=1):
    """A good HELLO and BELL, then this RING, then READY."""
    send(channel, hello(ident))
    ours = send_bell(channel)
    send(channel, message, *fds)
    send(channel, ready())
    return ours


def plain_file():
    fd = os.open("/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.ftruncate(fd, HEADER + RING_SIZE)
    return fd


def bad_bell(channel, *fds):
    send(channel, hello(1))
    send(channel, bell(), *fds)


def meet(channel, message, *fds):
    """A whole handshake, then this."""
    ours = offer(channel, ring(), memory())
    send(channel, message, *fds)
    return ours


DIAL = {
    "good": lambda c: offer(c, ring(), memory()),
    "version": lambda c: send(c, hello(1, version=77)),
    "version-only": lambda c: send(c, text(1, number(1, 77) + text(99, "new"))),
    "cluster": lambda c: send(c, hello(1, cluster="other")),
    "own-id": lambda c: send(c, hello(2)),
    "own-name": lambda c: send(c, hello(1, name="n2")),
    "id-zero": lambda c: send(c, hello(0)),
    "higher-id": lambda c: send(c, hello(9)),
    "bad-name": lambda c: send(c, hello(1, name="a\nb")),
    "long-name": lambda c: send(c, hello(1, name="a" * 300)),
    "garbage": lambda c: send(c, b"\xff" * 100),
    "not-hello": lambda c: send(c, ready()),
    "hello-fds": lambda c: send(c, hello(1), memory()),
    "too-long": lambda c: send(c, b"\x0a" + b"a" * 100000),
    "silence": lambda c: None,
    "hello-twice": lambda c: [send(c, hello(1)), send(c, hello(1))],
    "ready-before-bell": lambda c: [send(c, hello(1)), send(c, ready())],
    "bell-twice": lambda c: [send(c, hello(1)), send_bell(c), send_bell(c)],
    "bell-no-fd": bad_bell,
    "bell-two-fds": lambda c: bad_bell(c, memory(), memory()),
    "bell-no-socket": lambda c: bad_bell(c, memory()),
    "ring-unsealed": lambda c: offer(c, ring(), memory(seals=0)),
    "ring-growable": lambda c: offer(c, ring(), memory(seals=SHRINK | SEAL)),
    "ring-short": lambda c: offer(c, ring(), memory(HEADER + RING_SIZE // 2)),
    "ring-oversized": lambda c: offer(c, ring(), memory(HEADER + 2 * RING_SIZE)),
    "ring-no-memfd": lambda c: offer(c, ring(), plain_file()),
    "ring-no-fd": lambda c: offer(c, ring()),
    "ring-two-fds": lambda c: offer(c, ring(), memory(), memory()),
    "ring-twenty-fds": lambda c: offer(c, ring(), *[memory() for _ in range(20)]),
    "ring-odd-size": lambda c: offer(c, ring(size=300000), memory(HEADER + 300000)),
    "ring-huge": lambda c: offer(c, ring(size=1 << 40), memory()),
    "ring-foreign": lambda c: offer(c, ring("lan9"), memory()),
    "hello-empty": lambda c: send(c, text(1, b"")),
    "hello-cut": lambda c: send(c, hello(1)[:-3]),
    "hello-network-twice": lambda c: send(c, hello(1, networks=[("lan0", 1500)] * 2)),
    "hello-mtu-zero": lambda c: send(c, hello(1, networks=[("lan0", 0)])),
    "two-in-one": lambda c: send(c, hello(1) + ready()),
    "unknown-message": lambda c: send(c, text(99, b"new")),
    "ready-no-incarnation": lambda c: [send(c, hello(1)), send_bell(c),
                                       send(c, ring(), memory()),
                                       send(c, ready(incarnation=0))],
    "ready-beat-zero": lambda c: [send(c, hello(1)), send_bell(c),
                                  send(c, ring(), memory()), send(c, ready(beat_ms=0))],
    "cast-no-fd": lambda c: meet(c, cast()),
    "cast-two-fds": lambda c: meet(c, cast(), memory(), memory()),
    "cast-no-memfd": lambda c: meet(c, cast(), plain_file()),
    "cast-short": lambda c: meet(c, cast(), memory(4096)),
    "cast-unsealed": lambda c: meet(c, cast(), memory(seals=0)),
    "cast-odd-depth": lambda c: meet(c, cast(depth=300), memory()),
    "cast-no-id": lambda c: meet(c, cast(ident=0), memory()),
    "cast-no-epoch": lambda c: meet(c, cast(epoch=0), memory()),
    "cast-foreign": lambda c: meet(c, cast("lan9"), memory()),
    "lane-of-another": lambda c: meet(c, cast(maker=7, epoch=0, lane=1), memory()),
}

LISTEN = {
    "good": lambda c: offer(c, ring(), memory(), ident=9),
    "version": lambda c: send(c, hello(9, version=77)),
    "cluster": lambda c: send(c, hello(9, cluster="other")),
    "other-id": lambda c: send(c, hello(8)),
    "silence": lambda c: None,
    "garbage": lambda c: send(c, b"\xff" * 100),
    "ready-before-bell": lambda c: [send(c, hello(9)), send(c, ready())],
    "refusal": lambda c: send(c, text(6, number(1, 7) + text(2, "not today"))),
}


def main():
    way, path, case = sys.argv[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if way == "dial":
        channel.connect(path)
        kept = DIAL[case](channel)
        print(await_verdict(channel))
        del kept
        return
    channel.bind(path)
    try:
        channel.listen(1)
        channel.settimeout(TIMEOUT)
        caller, _ = channel.accept()
        if case == "refusal":  # with its HELLO unread
            LISTEN[case](caller)
            print("said no")
            return
        receive(caller)  # its HELLO
        kept = LISTEN[case](caller)
        print(await_verdict(caller))
        del kept
    finally:
        os.unlink(path)


main()
