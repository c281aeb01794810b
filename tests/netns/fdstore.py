#!/usr/bin/env python3
"""What systemd does for a service of Type=notify with FileDescriptorStoreMax=.

    fdstore.py COMMANDS LOG PROGRAM ARGUMENTS...

Starts the program, what it prints goes to LOG, and keeps the descriptors that it hands
over. Reads commands from the
file COMMANDS, and answers each by a line of JSON:

    restart SIGNAL  sends it the signal, and starts it again with what is in the store,
                    once it is gone: {"status", "fds": number}
    said            what it told: {"READY=1": number, ...}
    fds             {"fds": [names]}
    lose NAME       a descriptor goes from the store
    spoil NAME      one of another kind has its name
    end             SIGTERM, then the store is emptied: {"status"}; and is done
"""
import array
import collections
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time

FIRST = 3  # SD_LISTEN_FDS_START
LATE = 0.3  # seconds until what was given up is closed
WATCHDOG_USEC = 600000


class Manager:
    def __init__(self, log, argv):
        self.log, self.argv = log, argv
        self.store = []  # [(name, fd)]
        self.late = []  # [(time, fd)]
        self.said = collections.Counter()
        self.path = os.path.join(tempfile.mkdtemp(), "notify")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        self.notify.setblocking(False)

    def take(self):
        """One message; False if there is none."""
        try:
            text, control, _, _ = self.notify.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
        except BlockingIOError:
            return False
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
        lines = dict(line.split("=", 1) for line in text.decode().splitlines())
        name = lines.get("FDNAME", "stored")
        if "FDSTORE" in lines:
            self.store += [(name, fd) for fd in fds]
        elif "FDSTOREREMOVE" in lines:
            self.give_up(name)
        self.said.update(f"{key}={value}" for key, value in lines.items() if key != "FDNAME")
        return True

    def give_up(self, name):
        """Who is told to forget is in no hurry."""
        then = time.monotonic() + LATE
        self.late += [(then, fd) for other, fd in self.store if other == name]
        self.store = [entry for entry in self.store if entry[0] != name]

    def close_late(self):
        now = time.monotonic()
        for _, fd in [entry for entry in self.late if entry[0] <= now]:
            os.close(fd)
        self.late = [entry for entry in self.late if entry[0] > now]

    def drop_dead(self):
        """As systemd does: what polls as broken is of no use to anybody."""
        poll = select.poll()
        for _, fd in self.store:
            poll.register(fd, 0)
        dead = {fd for fd, events in poll.poll(0) if events & (select.POLLERR | select.POLLHUP)}
        for fd in dead:
            os.close(fd)
        self.store = [entry for entry in self.store if entry[1] not in dead]

    def become(self, fds):
        """In the child: the store's descriptors from FIRST on."""
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        high = [os.dup2(fd, 200 + i) for i, fd in enumerate(fds)]
        for i, fd in enumerate(high):
            os.dup2(fd, FIRST + i, inheritable=True)
        os.closerange(FIRST + len(fds), 1024)
        os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())

    def start(self):
        self.drop_dead()
        env = dict(os.environ, NOTIFY_SOCKET=self.path, FDSTORE="256",
                   WATCHDOG_USEC=str(WATCHDOG_USEC))
        if self.store:
            env.update(LISTEN_FDS=str(len(self.store)),
                       LISTEN_FDNAMES=":".join(name for name, _ in self.store))
        pid = os.fork()
        if pid == 0:
            os.environ.clear()
            os.environ.update(env)
            self.become([fd for _, fd in self.store])
            os.execv(self.argv[0], self.argv)
        self.pid = pid

    def stop(self, number):
        """Its last words are heard meanwhile: it may wait for that."""
        os.kill(self.pid, number)
        pid = 0
        while pid == 0:
            select.select([self.notify], [], [], 0.01)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            while self.take():
                pass
        return os.waitstatus_to_exitcode(status)

    def obey(self, verb, *words):
        if verb == "restart":
            status = self.stop(getattr(signal, "SIG" + words[0]))
            self.start()
            return {"status": status, "fds": len(self.store)}
        if verb == "said":
            return self.said
        if verb == "lose":
            self.give_up(words[0])
            return {}
        if verb == "spoil":
            self.store = [(name, os.open("/dev/null", os.O_RDWR) if name == words[0] else fd)
                          for name, fd in self.store]
            return {}
        if verb == "fds":
            return {"fds": sorted(name for name, _ in self.store)}
        status = self.stop(signal.SIGTERM)
        for _, fd in self.store + self.late:
            os.close(fd)
        os.unlink(self.path)
        os.rmdir(os.path.dirname(self.path))
        return {"status": status}


def main():
    commands = os.open(sys.argv[1], os.O_RDWR | os.O_NONBLOCK)
    manager = Manager(sys.argv[2], sys.argv[3:])
    signal.signal(signal.SIGTERM, lambda *_: (manager.obey("end"), sys.exit(0)))
    manager.start()
    print("ready", flush=True)
    while True:
        ends = select.select([commands, manager.notify], [], [], LATE)[0]
        manager.close_late()
        for end in ends:
            if end is manager.notify:
                manager.take()
                continue
            for line in os.read(commands, 4096).decode().splitlines():
                print(json.dumps(manager.obey(*line.split())), flush=True)
                if line == "end":
                    return


main()
