#!/usr/bin/env python3
"""Lets every k-th allocation, and every k-th system call of a kind, of a node fail. Runs
in the node's host; failures.sh starts it.

    sweep.py alloc DIR NODE LIBRARY                 while it starts
    sweep.py calls DIR NODE
    sweep.py running-alloc DIR NODE PEER LIBRARY    while PEER comes and goes
    sweep.py running-calls DIR NODE PEER

DIR has NODE.yaml, PEER.yaml and the directories run and fabric; SHMNET_NODE and SHMNET_CTL
name the programs, SWEEP_IN_PEER is what PEER is started with. A start either succeeds, or
ends by itself with exit status 1 or 2 and says why; in both cases it leaves the host as it
was. A node that runs goes on, sees its peer again, frees all and holds no more descriptors
than before.

libnftables ends the process when it has no memory, and crashes at times; libseccomp makes
a filter then that ends it. That is counted apart, and --cleanup must leave nothing then, as
after a SIGKILL.

SWEEP_STEPS: how many to try (of calls at the start: of each kind), evenly chosen; without
it, or with SHMNET_TEST_LONG=1, all. Prints a line per failure that was not borne, and what
was tried. Exit 0: all good.
"""

import ctypes
import mmap
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

PLACES_MAX = 16384
FRAMES = 24
DEADLINE = 20 * int(os.environ.get("SHMNET_TEST_SLOW", "1"))
LONG = bool(os.environ.get("SHMNET_TEST_LONG"))


class Page(ctypes.Structure):
    """struct fail_page of fail_alloc.c"""

    _fields_ = [
        ("countdown", ctypes.c_uint64),
        ("calls", ctypes.c_uint64),
        ("hits", ctypes.c_uint64),
        ("unfreed", ctypes.c_uint64),
        ("note", ctypes.c_uint64),
        ("base", ctypes.c_uint64),
        ("frames", ctypes.c_uint64 * FRAMES),
        ("leak", ctypes.c_uint64 * FRAMES),
        ("objects", (ctypes.c_char * 32) * FRAMES),
        ("num_places", ctypes.c_uint64),
        ("places", ctypes.c_uint64 * PLACES_MAX),
    ]


def run(*command):
    """What a command prints, "" if it can't be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError as error:
        return str(error)


def state_of_host(directory):
    """All that a node changes in a host, as text; and its files."""
    text = [
        "\n".join(sorted(re.sub(r"^\d+: ", "", line) for line in
                         run("ip", "-o", "link").splitlines()))]
    for version in "-4", "-6":
        text.append(run("ip", version, "rule"))
        text.append(run("ip", version, "route", "show", "table", "all", "proto", "83"))
        text.append(run("ip", version, "neigh", "show", "proxy"))
    text.append(run("nft", "list", "tables"))
    for root in "/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf":
        for name in sorted(os.listdir(root)):
            for key in "rp_filter", "accept_local", "arp_announce", "arp_ignore", \
                       "keep_addr_on_down", "proxy_ndp":
                try:
                    with open(f"{root}/{name}/{key}", encoding="ascii") as file:
                        text.append(f"{root}/{name}/{key} {file.read().strip()}")
                except OSError:
                    pass
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        text.append(file.read())
    for name in "run", "fabric":
        for path, _, files in os.walk(f"{directory}/{name}"):
            text += [f"{path}/{file}" for file in sorted(files)]
    return "\n".join(text).splitlines()


class Life:
    """One start of the node and what came of it."""

    def __init__(self, directory, node, prefix, env=None):
        self.log = f"{directory}/sweep.log"
        self.socket = f"{directory}/run/{node}.sock"
        command = [os.environ["SHMNET_NODE"], "--config", f"{directory}/{node}.yaml"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                prefix + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(env or {})}, start_new_session=True)
        self.is_traced = bool(prefix)
        self.is_ready = False

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def pid(self):
        """Of the node itself, not of its tracer."""
        if not self.is_traced:
            return self.process.pid
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        with open(path, encoding="ascii") as children:
            return int(children.read().split()[0])

    def wait(self, condition):
        """True once it holds; False if the node has ended; None: neither, in time."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if condition():
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.002)
        return None

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def start(self):
        """None, or what is wrong."""
        came = self.wait(lambda: ": ready: " in self.said())
        if came is None:
            self.kill()
            return "neither starts nor ends"
        self.is_ready = came
        return None if came else self.judge_refusal()

    def judge_refusal(self):
        status = self.process.returncode
        if status not in (1, 2, 127):  # 127: of the dynamic linker
            return f"exit status {status}"
        if not re.search("ERROR|error", self.said()):
            return f"exit status {status} without a word"
        return None

    def end(self):
        """The same, of a node that is ready."""
        try:
            os.kill(self.pid(), signal.SIGTERM)
        except (ProcessLookupError, IndexError):
            pass
        if self.wait(lambda: False) is None:
            self.kill()
            return "does not end"
        if self.process.returncode != 0:
            return f"ends with {self.process.returncode}"
        return None


class Sweep:
    """What all kinds of failure share."""

    def __init__(self, directory, node):
        self.directory, self.node = directory, node
        self.tried = self.refused = self.by_library = self.bad = 0
        self.empty = state_of_host(directory)

    def complain(self, what, wrong, life):
        self.bad += 1
        print(f"{what}: {wrong}")
        for line in life.said().splitlines()[-8:]:
            print(f"    {line}")

    def some(self, steps):
        """As many of them, evenly, as there is time for."""
        budget = int(os.environ.get("SWEEP_STEPS", "0"))
        if LONG or not budget or budget >= len(steps):
            return list(steps)
        return [steps[i * len(steps) // budget] for i in range(budget)]

    def report(self):
        print(f"{self.tried} failed: {self.refused} starts refused, "
              f"{self.by_library} ended by a library, {self.bad} bad")
        return 1 if self.bad else 0

    def leftovers(self):
        for _ in range(20):
            now = state_of_host(self.directory)
            if now == self.empty:
                return None
            time.sleep(0.05)
        more, less = Counter(now) - Counter(self.empty), Counter(self.empty) - Counter(now)
        return "leaves " + "; ".join([f"+{line.strip()}" for line in more.elements()]
                                     + [f"-{line.strip()}" for line in less.elements()])

    def clean(self):
        """After a failure that left something."""
        run(os.environ["SHMNET_NODE"], "--cleanup", "--config",
            f"{self.directory}/{self.node}.yaml")
        if state_of_host(self.directory) != self.empty:
            self.bad += 1
            print("--cleanup leaves something")
            self.empty = state_of_host(self.directory)

    def judge(self, life, was_hit):
        """Runs a life to its end: what is wrong with it, None if nothing is."""
        wrong = life.start()
        if life.is_ready and wrong is None:
            wrong = life.end()
        hit = was_hit()  # also what a node has yet to do when it says that it is ready
        self.tried += hit
        self.refused += hit and not life.is_ready
        left = self.leftovers()
        if left:
            self.clean()
        return hit, wrong or left


def symbols(base, frames):
    """Where in the program these are."""
    inside = [f"{frame - base - 1:#x}" for frame in frames
              if base <= frame < base + (64 << 20)]
    if not inside:
        return ""
    names = run("addr2line", "-fse", os.environ["SHMNET_NODE"], *inside).split("\n")
    return " < ".join(f"{name} {place}" for name, place in zip(names[::2], names[1::2]))


class Allocations:
    """The page that is shared with fail_alloc.c, and lives with it."""

    def __init__(self, directory, node, library):
        self.directory, self.node = directory, node
        path = f"{directory}/fail-alloc"
        with open(path, "wb") as file:
            file.truncate(ctypes.sizeof(Page))
        with open(path, "r+b") as file:
            self.page = Page.from_buffer(mmap.mmap(file.fileno(), ctypes.sizeof(Page)))
        self.env = {"LD_PRELOAD": library, "SHMNET_FAIL_ALLOC": path}

    def life(self, countdown):
        """Starts a node whose allocation of this number fails."""
        ctypes.memset(ctypes.byref(self.page), 0, Page.num_places.offset)
        self.page.countdown = countdown
        self.page.note = countdown == 0
        return Life(self.directory, self.node, [], self.env)

    def place(self):
        return symbols(self.page.base, self.page.frames)

    def is_by_library(self):
        """Whose allocation it was that failed."""
        return any(name.value.startswith((b"libnftables", b"libseccomp"))
                   for name in self.page.objects)

    def leak(self):
        if not self.page.unfreed:
            return None
        return f"does not free {self.page.unfreed}: " \
               + symbols(self.page.base, self.page.leak)


def sweep_alloc(directory, node, library):
    allocations = Allocations(directory, node, library)
    page = allocations.page
    sweep = Sweep(directory, node)
    life = allocations.life(0)
    wrong = life.start()
    calls = page.calls
    wrong = wrong or (not life.is_ready and "is refused") or life.end() \
        or allocations.leak()
    if wrong:
        sweep.complain("without a failure", wrong, life)
        return 1
    places = [place for place in page.places[: page.num_places] if place <= calls]
    print(f"{calls} allocations in {len(places)} places", flush=True)
    for k in sweep.some(range(1, calls + 1) if LONG else places):
        life = allocations.life(k)
        hit, wrong = sweep.judge(life, lambda: page.hits)
        if not wrong and life.process.returncode >= 0:
            wrong = allocations.leak()
        if hit and wrong and allocations.is_by_library():
            # It ends the process, or makes it crash. Then the node is as if killed.
            sweep.by_library += 1
        elif wrong:
            sweep.complain(f"allocation {k}: {allocations.place()}", wrong, life)
    return sweep.report()


# What a call fails with; all others: EIO. Those that are not in here either can't fail so
# that a program could know, or are how strace and libc end a process.
ERRORS = {
    "accept4": "EMFILE", "bind": "EACCES", "bpf": "EPERM", "capset": "EPERM",
    "clone": "EAGAIN", "clone3": "EAGAIN", "connect": "ECONNREFUSED",
    "dup3": "EMFILE", "epoll_create1": "EMFILE", "epoll_ctl": "ENOMEM",
    "eventfd2": "EMFILE", "flock": "ENOLCK", "inotify_add_watch": "ENOSPC",
    "inotify_init1": "EMFILE", "mkdir": "EACCES", "mmap": "ENOMEM",
    "memfd_create": "EMFILE", "openat": "EMFILE", "pipe2": "EMFILE",
    "prlimit64": "EPERM", "recvmsg": "ENOBUFS", "recvfrom": "ENOBUFS",
    "seccomp": "EINVAL", "sendmsg": "ENOBUFS", "sendto": "ENOBUFS", "setns": "EPERM",
    "socket": "EMFILE", "timerfd_create": "EMFILE", "write": "ENOSPC",
}
NEVER = {
    "arch_prctl", "brk", "close", "epoll_wait", "epoll_pwait", "execve", "exit",
    "exit_group", "futex", "getegid", "geteuid", "getgid", "getpid", "gettid", "getuid",
    "getppid", "munmap", "restart_syscall", "rseq", "rt_sigreturn", "sched_yield",
    "set_robust_list", "set_tid_address",
}


def strace(output, *options):
    return ["strace", "-f", "-qq", "-o", output, *options]


def inject(name, k):
    """With the stack of each call. In its place one is made that the node's filter allows,
    or that would end it."""
    fault = f"{name}:error={ERRORS.get(name, 'EIO')}:syscall=getpid:when={k}"
    return "-k", "-e", f"trace={name}", "-e", f"inject={fault}"


def was_injected(output):
    with open(output, encoding="utf-8", errors="replace") as lines:
        return "(INJECTED)" in lines.read()


def is_by_library(output):
    """The call that failed, the last one in there, was one of libnftables."""
    with open(output, encoding="utf-8", errors="replace") as lines:
        after = lines.read().rpartition("(INJECTED)")[2]
    return "libnftables" in after


def count_calls(directory, node, sweep):
    """[(name, first, last)] of a start, None if that is no good one. What the dynamic
    linker does comes before the first."""
    output = f"{directory}/strace"
    life = Life(directory, node, strace(output, "-s", "200"))
    wrong = life.start() or (not life.is_ready and "is refused") or life.end()
    if wrong:
        sweep.complain("without a failure", wrong, life)
        return None
    counts, before = {}, {}
    with open(output, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if ": ready: " in line:
                break
            if f"/{node}.yaml" in line and "execve" not in line:
                before = dict(counts)
            match = re.match(r"\d+ +(\w+)\(", line)
            if match and match[1] not in NEVER:
                counts[match[1]] = counts.get(match[1], 0) + 1
    return [(name, before.get(name, 0) + 1, counts[name]) for name in sorted(counts)]


def sweep_calls(directory, node):
    sweep = Sweep(directory, node)
    counts = count_calls(directory, node, sweep)
    if not counts:
        return 1
    print(f"{sum(last - first + 1 for _, first, last in counts)} calls of "
          f"{len(counts)} kinds", flush=True)
    output = f"{directory}/strace"
    for name, first, last in counts:
        for k in sweep.some(range(first, last + 1)):
            life = Life(directory, node, strace(
                output, *inject(name, k)))
            hit, wrong = sweep.judge(life, lambda: was_injected(output))
            if wrong and hit and is_by_library(output):
                sweep.by_library += 1
            elif wrong and not (name == "flock" and "node-1.lock" in wrong):
                sweep.complain(f"{name}, number {k}", wrong, life)
    return sweep.report()


# ---- a node that runs ----

class Mesh:
    """A node that things are done to, and another one that comes and goes."""

    COMMANDS = (
        "status", "topology", "nodes", "stats", "rings", "events", "networks", "flows",
        "listeners", "version", "ping {peer} --count 1", "drain", "undrain",
        "explain tcp 198.51.100.7:4000 10.99.0.1:80",
    )

    def __init__(self, directory, node, peer):
        self.directory, self.node, self.peer = directory, node, peer
        self.life = None
        self.count = 0

    def ctl(self, *words):
        return subprocess.run(
            [os.environ["SHMNET_CTL"], "-s", f"{self.directory}/run/{self.node}.sock",
             *words], capture_output=True, text=True, check=False, timeout=DEADLINE)

    def sees(self, number):
        answer = self.ctl("status", "--json").stdout
        return f'"nodes_up": {number},' in answer

    def wait_to_see(self, number):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and self.life.process.poll() is None:
            if self.sees(number):
                return True
            time.sleep(0.01)
        return False

    def visit(self, tracer=None):
        """The peer comes, all questions are asked, the peer goes; what is wrong, if
        anything, afterwards: each single step may fail."""
        run_peer = os.environ["SWEEP_IN_PEER"].split()
        with open(f"{self.directory}/peer.log", "wb") as log:
            peer = subprocess.Popen(  # pylint: disable=consider-using-with
                run_peer + [os.environ["SHMNET_NODE"], "--config",
                            f"{self.directory}/{self.peer}.yaml"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        came = self.wait_to_see(1)
        for command in self.COMMANDS:
            self.ctl(*command.format(peer=self.peer).split())
            peer.terminate()
        peer.wait(DEADLINE)
        if tracer:
            tracer.end()
        went = self.wait_to_see(0)
        if self.life.process.poll() is not None:
            return f"ended with {self.life.process.returncode}"
        if not came:
            return "never saw the peer"
        return None if went else "sees the peer for ever"

    def fds(self):
        pid = self.life.pid()
        return sorted(re.sub(r"\[\d+\]", "", os.readlink(f"/proc/{pid}/fd/{fd}"))
                      for fd in os.listdir(f"/proc/{pid}/fd"))

    def fds_since(self, before):
        """What it holds may depend on who sent the first broadcast."""
        now = self.fds()
        return f"{before} fds, now {now}" if len(now) > before + 4 else None


def sweep_running_alloc(directory, node, peer, library):
    allocations = Allocations(directory, node, library)
    page = allocations.page
    sweep = Sweep(directory, node)
    mesh = Mesh(directory, node, peer)

    def begin():
        mesh.life = allocations.life(0)
        return mesh.life.start()

    def complain(what, wrong):
        sweep.complain(what, wrong, mesh.life)
        mesh.life.kill()
        sweep.clean()
        begin()

    wrong = begin()
    calls, places = page.calls, page.num_places
    wrong = wrong or mesh.visit()
    if wrong:
        sweep.complain("without a failure", wrong, mesh.life)
        mesh.life.kill()
        return 1
    fds = len(mesh.fds())
    places = [place - calls for place in page.places[places: page.num_places]]
    page.note = 0
    print(f"{page.calls - calls} allocations in {len(places)} places", flush=True)
    for k in sweep.some(places):
        ctypes.memset(page.objects, 0, ctypes.sizeof(page.objects))
        ctypes.memset(page.frames, 0, ctypes.sizeof(page.frames))
        page.hits = 0
        page.countdown = k
        wrong = mesh.visit()
        sweep.tried += page.hits
        page.countdown = 0
        if page.hits and wrong and allocations.is_by_library():
            sweep.by_library += 1
            sweep.clean()
            begin()
        elif wrong:
            complain(f"allocation {k}: {allocations.place()}", wrong)
    for wrong in (mesh.visit(), mesh.fds_since(fds), mesh.life.end(),
                  allocations.leak(), sweep.leftovers()):
        if wrong:
            sweep.complain("afterwards", wrong, mesh.life)
    return sweep.report()


class Tracer:
    """strace at a process that runs; what it says is in DIR/strace."""

    def __init__(self, directory, pid, *options):
        self.output = f"{directory}/strace"
        self.pid = pid
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            strace(self.output, *options, "-p", str(pid)), stdin=subprocess.DEVNULL)
        while not self.holds_all() and self.process.poll() is None:
            time.sleep(0.002)

    def holds_all(self):
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/status", encoding="ascii") as status:
                if "TracerPid:\t0\n" in status.read():
                    return False
        return True

    def end(self):
        self.process.terminate()
        self.process.wait()
        return was_injected(self.output)


def count_running_calls(directory, mesh):
    tracer = Tracer(directory, mesh.life.pid())
    wrong = mesh.visit()
    tracer.end()
    with open(tracer.output, encoding="utf-8", errors="replace") as lines:
        names = (re.match(r"\d+ +(\w+)\(", line) for line in lines)
        counts = Counter(name[1] for name in names if name and name[1] not in NEVER)
    return wrong, sorted(counts.items())


def sweep_running_calls(directory, node, peer):
    sweep = Sweep(directory, node)
    mesh = Mesh(directory, node, peer)

    def begin():
        mesh.life = Life(directory, node, [])
        return mesh.life.start()

    def complain(what, wrong):
        sweep.complain(what, wrong, mesh.life)
        mesh.life.kill()
        sweep.clean()
        begin()

    wrong = begin() or mesh.visit()
    fds = 0 if wrong else len(mesh.fds())
    counts = []
    if not wrong:
        wrong, counts = count_running_calls(directory, mesh)
    if wrong:
        sweep.complain("without a failure", wrong, mesh.life)
        mesh.life.kill()
        return 1
    print(f"{sum(number for _, number in counts)} calls of {len(counts)} kinds",
          flush=True)
    for name, k in sweep.some(
            [(name, k) for name, number in counts for k in range(1, number + 1)]):
        tracer = Tracer(directory, mesh.life.pid(), *inject(name, k))
        wrong = mesh.visit(tracer)
        hit = was_injected(tracer.output)
        sweep.tried += hit
        if wrong and hit and is_by_library(tracer.output):
            sweep.by_library += 1
            sweep.clean()
            begin()
        elif wrong:
            complain(f"{name}, number {k}", wrong)
    for wrong in mesh.visit(), mesh.fds_since(fds), mesh.life.end(), sweep.leftovers():
        if wrong:
            sweep.complain("afterwards", wrong, mesh.life)
    return sweep.report()


def main():
    kind, directory, node, *rest = sys.argv[1:]
    if kind == "alloc":
        return sweep_alloc(directory, node, *rest)
    if kind == "running-alloc":
        return sweep_running_alloc(directory, node, *rest)
    if kind == "running-calls":
        return sweep_running_calls(directory, node, *rest)
    if kind == "calls":
        return sweep_calls(directory, node)
    return 2


if __name__ == "__main__":
    sys.exit(main())
