#!/usr/bin/python3
"""Runs commands in a machine of the lab: both ends of it.

    agent.py serve ADDRESS                      in the machine, as its process 1
    agent.py run PID ADDRESS COMMAND [ARG...]   on the host, in the lab's namespace

`run` behaves as the command would: standard input, output and error are the command's,
so is the exit status (128 + N after signal N). The command runs as root in the same
directory, without a terminal. SIGTERM, SIGINT and SIGHUP are passed on to the command's
process group; if `run` is killed, the group is killed. Processes that the command leaves
in the background go on. PID is the machine's QEMU: if that ends, `run` says so; this and
a machine that doesn't answer are exit status 255.

One connection per command. A message is a byte that says what it is, the length in four
bytes, and the data. One way: the request 'r', then 'i' of standard input (empty: the end)
and signals 's'. The other way: 'o' and 'e' of output and error, then the exit status 'x'.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import time

if sys.argv[1:2] == ["serve"]:  # not for each command on the host
    import selectors
    import subprocess

PORT = 7000
CONNECT_SECONDS = 5
CHUNK = 65536
KEPT_VARIABLES = ("SHMNET_", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "MALLOC_")


class Gone(Exception):
    """The other end closed the connection."""


def message(kind, data):
    return struct.pack("!cI", kind, len(data)) + data


def send(sock, kind, data):
    try:
        sock.sendall(message(kind, data))
    except OSError as error:
        raise Gone from error


def receive_exactly(sock, length):
    data = b""
    while len(data) < length:
        part = sock.recv(length - len(data))
        if not part:
            raise Gone
        data += part
    return data


def receive(sock):
    try:
        kind, length = struct.unpack("!cI", receive_exactly(sock, 5))
        return kind, receive_exactly(sock, length)
    except OSError as error:
        raise Gone from error


# --- the machine's end ---------------------------------------------------------


class Session:
    """A command and its connection, in a process of their own."""

    def __init__(self, sock):
        self.sock = sock
        self.selector = selectors.DefaultSelector()
        self.child = None
        self.stdin = b""
        self.stdin_ends = False

    def start(self, request):
        self.child = subprocess.Popen(
            request["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=request["cwd"] if os.path.isdir(request["cwd"]) else "/",
            env={**os.environ, **request["env"]},
            start_new_session=True,
        )
        for stream in (self.child.stdin, self.child.stdout, self.child.stderr):
            os.set_blocking(stream.fileno(), False)
        self.selector.register(self.child.stdout, selectors.EVENT_READ, b"o")
        self.selector.register(self.child.stderr, selectors.EVENT_READ, b"e")
        self.selector.register(self.sock, selectors.EVENT_READ, b"i")
        self.exit_fd = os.pidfd_open(self.child.pid)
        self.selector.register(self.exit_fd, selectors.EVENT_READ, b"x")

    # Input that the command does not take yet is kept: signals come the same way.
    def take(self):
        kind, data = receive(self.sock)
        if kind == b"s":
            os.killpg(self.child.pid, int(data))
        elif not data:
            self.stdin_ends = True
        elif not self.child.stdin.closed:
            self.stdin += data
        self.watch_stdin()

    def watch_stdin(self):
        stream = self.child.stdin
        if stream.closed:
            return
        watched = stream in self.selector.get_map()
        if self.stdin and not watched:
            self.selector.register(stream, selectors.EVENT_WRITE, b"w")
        elif not self.stdin and watched:
            self.selector.unregister(stream)
        if not self.stdin and self.stdin_ends:
            stream.close()

    def pass_input(self):
        try:
            self.stdin = self.stdin[os.write(self.child.stdin.fileno(), self.stdin) :]
        except BrokenPipeError:
            self.stdin, self.stdin_ends = b"", True
        self.watch_stdin()

    # True if there may be more.
    def pass_output(self, stream, kind):
        try:
            data = os.read(stream.fileno(), CHUNK)
        except BlockingIOError:
            return False
        if data:
            send(self.sock, kind, data)
            return True
        self.selector.unregister(stream)
        stream.close()
        return False

    def step(self):
        """Returns the exit status, None while the command runs."""
        for key, _ in self.selector.select():
            if key.data == b"i":
                self.take()
            elif key.data == b"w":
                self.pass_input()
            elif key.data == b"x":
                return self.child.wait()
            else:
                self.pass_output(key.fileobj, key.data)
        return None

    def run(self, request):
        try:
            self.start(request)
        except OSError as error:
            send(self.sock, b"e", f"{request['argv'][0]}: {error.strerror}\n".encode())
            send(self.sock, b"x", b"126" if isinstance(error, PermissionError) else b"127")
            return
        status = None
        while status is None:
            status = self.step()
        for stream, kind in ((self.child.stdout, b"o"), (self.child.stderr, b"e")):
            while not stream.closed and self.pass_output(stream, kind):
                pass
        send(self.sock, b"x", str(status if status >= 0 else 128 - status).encode())

    def stop(self):
        if self.child is None or self.child.returncode is not None:
            return
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()


def serve_one(sock):
    session = Session(sock)
    try:
        kind, data = receive(sock)
        if kind == b"r":
            session.run(json.loads(data))
    except Gone:
        pass
    finally:
        session.stop()


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def serve(address):
    os.environ.clear()
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ["HOME"] = "/root"
    os.environ["LC_ALL"] = "C.UTF-8"
    # A handler, unlike SIG_IGN, ends the sleep in select() and is not inherited.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    listener = socket.create_server((address, PORT), backlog=64)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    print(f"lab: ready after {time.clock_gettime(time.CLOCK_BOOTTIME):.1f} s", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not listener:
                os.read(wake_read, CHUNK)
                reap()
                continue
            sock, _ = listener.accept()
            if os.fork() == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                listener.close()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                serve_one(sock)
                os._exit(0)
            sock.close()


# --- the host's end ------------------------------------------------------------


def request(argv):
    kept = {k: v for k, v in os.environ.items() if k.startswith(KEPT_VARIABLES)}
    return json.dumps({"argv": argv, "cwd": os.getcwd(), "env": kept}).encode()


def read_stdin():
    try:
        return os.read(0, CHUNK)
    except OSError:
        return b""


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


class Relay:
    """Between a connection and the standard streams and signals of this process."""

    def __init__(self, sock, qemu, signals):
        self.sock = sock
        self.qemu = qemu
        self.signals = signals
        self.stdin_open = True
        self.unsent = b""

    # The machine may take no input until its output is taken: never waits to send.
    def send_some(self):
        try:
            sent = self.sock.send(self.unsent, socket.MSG_DONTWAIT)
        except OSError as error:
            raise Gone from error
        self.unsent = self.unsent[sent:]

    def pass_stdin(self):
        data = read_stdin()
        self.stdin_open = data != b""
        self.unsent += message(b"i", data)

    def pass_signals(self):
        for number in os.read(self.signals, CHUNK):
            self.unsent += message(b"s", str(number).encode())

    def wait(self):
        readers = [self.sock, self.qemu, self.signals]
        if self.stdin_open and len(self.unsent) < CHUNK:
            readers.append(0)
        return select.select(readers, [self.sock] if self.unsent else [], [])

    def run(self):
        """Returns the exit status."""
        while True:
            readable, writable, _ = self.wait()
            if writable:
                self.send_some()
            if 0 in readable:
                self.pass_stdin()
            if self.signals in readable:
                self.pass_signals()
            if self.sock in readable:
                kind, data = receive(self.sock)
                if kind == b"x":
                    return int(data)
                write_all(1 if kind == b"o" else 2, data)
            elif self.qemu in readable:
                raise Gone


def run(pid, address, argv):
    signals, wake = os.pipe2(os.O_NONBLOCK)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(wake)
    try:
        qemu = os.pidfd_open(pid)
        sock = socket.create_connection((address, PORT), CONNECT_SECONDS)
    except OSError as error:
        print(f"agent.py: {address} does not answer: {error}", file=sys.stderr)
        return 255
    sock.settimeout(None)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        send(sock, b"r", request(argv))
        return Relay(sock, qemu, signals).run()
    except BrokenPipeError:
        return 128 + signal.SIGPIPE
    except Gone:
        print(f"agent.py: {address} went away", file=sys.stderr)
        return 255


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "serve":
        serve(sys.argv[2])
    elif len(sys.argv) > 4 and sys.argv[1] == "run":
        os._exit(run(int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
    else:
        sys.exit(__doc__)


main()
