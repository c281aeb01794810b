"""Two machines of deploy/lab with Soft-RoCE, and the wires between them.

The machines are started when a row first needs them and end with the run's process
namespace. Machine 1 is the client, machine 2 the server. The directory that
Programs.scratch() takes from has the same name there, and the host's files are there,
too: what measures namespaces measures machines.
"""

import functools
import re
import subprocess
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from lab import BenchError, Missing, Namespace, Process, last_words, run, wait_until
from paths import CLIENT, SERVER, Wire, is_ready

VM_LAB = str(Path(__file__).parents[2] / "deploy/lab/vm-lab.sh")
LAB = (VM_LAB, "--name", "bench")
MEMORY = "512"
SKIPPED = 77
PATIENCE = 60.0  # they are emulated, both on this machine
DEADLINE = "1800"

DEVICE = "rxe0"
GID_INDEX = "1"
LINK_MTU = 4200  # the lab's; path MTU 4096
UNDER = ("192.0.2.1", "192.0.2.2")


class VmProcess(Process):
    patience = PATIENCE


class Machine:
    """What a Namespace is, of a machine."""

    def __init__(self, number):
        self.number = number

    def command(self, *command):
        return (*LAB, "exec", str(self.number), "timeout", DEADLINE, *command)

    def run(self, *command):
        return run(*self.command(*command))

    def spawn(self, *command):
        return VmProcess(*self.command(*command))

    def is_listening(self, port):
        return bool(self.run("ss", "-Hltn", f"sport = :{port}"))

    def can_ping(self, address):
        ping = self.command("ping", "-nqc1", "-W2", address)
        return subprocess.run(ping, capture_output=True, check=False).returncode == 0


class Guest(Namespace):
    """A network namespace of the client's machine."""

    def on_host(self, *command):
        return Machine(1).command(*command)

    def spawn(self, *command):
        return VmProcess(*self.command(*command))


@functools.cache
def machines(share):
    """Client, server, and how they are emulated."""
    done = subprocess.run([*LAB, "up", "2", "--mem", MEMORY, "--share", str(share)],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        error = Missing if done.returncode == SKIPPED else BenchError
        raise error(f"vm-lab.sh up: {last_words(done.stdout + done.stderr)}")
    both = Machine(1), Machine(2)
    for machine in both:
        machine.run("sh", "-c", f"mkdir -p '{share}' && mount --bind /lab '{share}'")
    return *both, re.search(r"MB, (\w+),", done.stdout)[1]


def start(programs):
    """Starts the machines; returns what a reader must know of them."""
    programs.SCRATCH.mkdir(exist_ok=True)
    client, _, accel = machines(programs.SCRATCH)
    return (f"2 virtual machines, {accel}, {client.run('nproc').strip()} CPUs and "
            f"{MEMORY} MB each, {client.run('uname', '-sr').strip()}; {DEVICE} on eth0, "
            f"MTU {LINK_MTU}")


@dataclass(frozen=True)
class Link:
    """The machines' Ethernet, with the RDMA device that is on it."""
    name = "the link"

    @contextmanager
    def up(self, programs):
        client, server, _ = machines(programs.SCRATCH)
        yield Wire(client, server, UNDER[1])


NODE_CONFIG = """\
node: {{name: n{id}, id: {id}, cluster: bench, runtime_dir: /run/shmnet}}
fabrics:
  - {{name: roce, kind: rdma, device: {device}, listen: "{own}:7471",
     seeds: ["{far}:7471"], security: none}}
networks:
  - {{name: lan0, tap: tap0, mtu: {mtu}, address: {address}/24}}
"""


@dataclass(frozen=True)
class ShmnetRdma:
    """A shmnet-node in each machine, joined by RDMA."""
    mtu: int = LINK_MTU
    name = "shmnet over rxe"

    @contextmanager
    def up(self, programs):
        *ends, _ = machines(programs.SCRATCH)
        directory = programs.scratch()
        with ExitStack() as stack:
            nodes = [stack.enter_context(self.start_node(programs, directory, machine))
                     for machine in ends]
            for machine in ends:
                wait_until(lambda: is_ready(programs, nodes, machine,
                                            f"/run/shmnet/n{machine.number}.sock"),
                           f"node n{machine.number} ready with its peer", PATIENCE)
            wait_until(lambda: ends[0].can_ping(SERVER), f"ping of {SERVER}")
            yield Wire(*ends, SERVER)

    def start_node(self, programs, directory, machine):
        number = machine.number
        config = directory / f"n{number}.yaml"
        config.write_text(NODE_CONFIG.format(
            id=number, device=DEVICE, own=UNDER[number - 1], far=UNDER[2 - number],
            mtu=self.mtu, address=(CLIENT, SERVER)[number - 1]), encoding="ascii")
        machine.run("mkdir", "-p", "-m", "700", "/run/shmnet")
        return machine.spawn(programs.find("src/shmnet-node"), "--config", str(config))
