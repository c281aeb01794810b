"""Namespaces, processes and the CPU clock: what every measurement stands on.

run.sh starts this inside a mount, network and process namespace of its own, so
whatever is made here ends with the run, however that ends. Names are unique in
one run only.
"""

import itertools
import os
import re
import subprocess
import time
from pathlib import Path

READY_TIMEOUT = 10.0
STOP_TIMEOUT = 5.0


class BenchError(Exception):
    """A row cannot be measured; the text says why."""


class Missing(BenchError):
    """A program that the row needs is not there: the row is left out."""


def last_words(output):
    """What a program said before it ended, on one line."""
    return " | ".join(output.strip().splitlines()[-3:])


def run(*command):
    """Runs to the end; returns standard output; a failure names the command."""
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit {done.returncode}: "
                         f"{last_words(done.stderr or done.stdout)}")
    return done.stdout


def wait_until(question, what, timeout=READY_TIMEOUT):
    """Asks until the answer is true."""
    end = time.monotonic() + timeout
    while not question():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {timeout:g} s")
        time.sleep(0.02)


class Process:
    """A program in the background; `with` ends it."""

    patience = READY_TIMEOUT

    def __init__(self, *command):
        self.command = " ".join(command)
        self.popen = subprocess.Popen(command, text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def wait_for_line(self, text):
        """Reads its output up to a line that has `text` in it."""
        seen = []
        for line in self.popen.stdout:
            if text in line:
                return
            seen.append(line)
        raise BenchError(f"{self.command}: ended early: {last_words(''.join(seen))}")

    def usage(self):
        """Seconds on a CPU and number of times it slept, all threads together."""
        seconds = sleeps = 0
        for task in Path(f"/proc/{self.popen.pid}/task").iterdir():
            seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
            status = (task / "status").read_text()
            sleeps += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", status, re.M)[1])
        return seconds, sleeps

    def check_alive(self):
        if self.popen.poll() is not None:
            raise BenchError(f"{self.command}: exit {self.popen.returncode}: "
                             f"{last_words(self.popen.stdout.read())}")

    def finish(self):
        """Waits for it to end by itself; returns what it printed since the last wait."""
        try:
            output, _ = self.popen.communicate(timeout=self.patience)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self.command}: does not end") from None
        if self.popen.returncode:
            raise BenchError(f"{self.command}: exit {self.popen.returncode}: "
                             f"{last_words(output)}")
        return output

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.communicate(timeout=STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.communicate()


class Namespace:
    """A network namespace."""

    numbers = itertools.count(1)

    def __init__(self):
        self.name = f"bench{next(self.numbers)}"

    def on_host(self, *command):
        """The command as it is run where the namespace is."""
        return command

    def __enter__(self):
        run(*self.on_host("ip", "netns", "add", self.name))
        self.ip("link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        run(*self.on_host("ip", "netns", "del", self.name))

    def command(self, *command):
        return self.on_host("ip", "netns", "exec", self.name, *command)

    def run(self, *command):
        return run(*self.command(*command))

    def spawn(self, *command):
        return Process(*self.command(*command))

    def ip(self, *arguments):
        return run(*self.on_host("ip", "-n", self.name, *arguments))

    def add_address(self, device, address, mtu):
        """Brings `device` up; `address` has a prefix."""
        self.ip("address", "add", address, "dev", device)
        self.ip("link", "set", device, "mtu", str(mtu), "up")

    def can_ping(self, address):
        ping = self.command("ping", "-nqc1", "-W1", address)
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0


class CpuClock:
    """Busy seconds of all CPUs together, everything on the machine included."""

    TICK = os.sysconf("SC_CLK_TCK")

    def __init__(self):
        self.start_wall = self.start_busy = self.wall = self.busy = 0.0

    @classmethod
    def read(cls):
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, _idle, _iowait, irq, softirq = map(
                int, stat.readline().split()[1:8])
        return (user + nice + system + irq + softirq) / cls.TICK

    def __enter__(self):
        self.start_wall, self.start_busy = time.monotonic(), self.read()
        return self

    def __exit__(self, *_):
        self.wall = time.monotonic() - self.start_wall
        self.busy = self.read() - self.start_busy
