"""The wires that are measured: two namespaces and what joins them.

A path is a frozen description; up() makes it real for a `with` block and yields
a Wire. Two of them are up at a time, and the one that is not measured is idle.
"""

import json
import subprocess
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass

from lab import BenchError, Missing, Namespace, Process, wait_until

CLIENT = "10.77.0.1"
SERVER = "10.77.0.2"
VXLAN_OVERHEAD = 50


@dataclass
class Wire:
    client: Namespace
    server: Namespace
    address: str = SERVER


@contextmanager
def wire_up(start):
    """Two namespaces, joined by start(stack, client, server), then seen to work."""
    with ExitStack() as stack:
        client = stack.enter_context(Namespace())
        server = stack.enter_context(Namespace())
        start(stack, client, server)
        wait_until(lambda: client.can_ping(SERVER), f"ping of {SERVER}")
        yield Wire(client, server)


def veth_add(client, server, name):
    client.ip("link", "add", name, "type", "veth", "peer", "name", name,
              "netns", server.name)


def tap_add(namespace, address, mtu, *flags):
    namespace.ip("tuntap", "add", "dev", "tap0", "mode", "tap", *flags)
    namespace.add_address("tap0", f"{address}/24", mtu)


@dataclass(frozen=True)
class Veth:
    """A veth pair."""
    mtu: int = 1500
    name = "veth"

    def up(self, _programs):
        def start(_stack, client, server):
            veth_add(client, server, "veth0")
            client.add_address("veth0", f"{CLIENT}/24", self.mtu)
            server.add_address("veth0", f"{SERVER}/24", self.mtu)
        return wire_up(start)


@dataclass(frozen=True)
class Vxlan:
    """The kernel's VXLAN over a veth pair whose MTU has room for the header."""
    mtu: int = 1500
    name = "VXLAN over veth"

    def up(self, _programs):
        def start(_stack, client, server):
            veth_add(client, server, "under0")
            for end, own, far, address in ((client, 1, 2, CLIENT), (server, 2, 1, SERVER)):
                end.add_address("under0", f"10.78.0.{own}/24", self.mtu + VXLAN_OVERHEAD)
                end.ip("link", "add", "vx0", "type", "vxlan", "id", "7", "dstport", "4789",
                       "local", f"10.78.0.{own}", "remote", f"10.78.0.{far}")
                end.add_address("vx0", f"{address}/24", self.mtu)
        return wire_up(start)


@dataclass(frozen=True)
class Pump:
    """Two TAPs and pump.c."""
    mtu: int = 1500
    name = "pump"

    def up(self, programs):
        def start(stack, client, server):
            for end, address in ((client, CLIENT), (server, SERVER)):
                tap_add(end, address, self.mtu, "vnet_hdr")
            pump = stack.enter_context(Process(
                programs.find("tests/bench/pump"), client.name, "tap0", server.name, "tap0"))
            pump.wait_for_line("listening")
        return wire_up(start)


@dataclass(frozen=True)
class Vde:
    """vde_switch and a vde_plug2tap for each TAP."""
    mtu: int = 1500
    name = "vde_switch"

    def up(self, programs):
        def start(stack, client, server):
            socket = programs.scratch() / "vde"
            # It ends when its standard input does, hence a Process.
            switch = stack.enter_context(Process("vde_switch", "-s", str(socket)))
            wait_until((socket / "ctl").exists, "vde_switch")
            switch.check_alive()
            for end, address in ((client, CLIENT), (server, SERVER)):
                tap_add(end, address, self.mtu)
                stack.enter_context(end.spawn("vde_plug2tap", "-s", str(socket), "tap0"))
        return wire_up(start)


SHMNET_CONFIG = """\
node: {{name: n{id}, id: {id}, cluster: bench, runtime_dir: {dir}/run{node}}}
fabrics:
  - {{name: local, kind: shm, path: {dir}/fabric}}
networks:
  - {{name: lan0, kind: local, tap: tap0, mtu: {mtu}, address: {address}/24}}
"""


@dataclass(frozen=True)
class Shmnet:
    """A shmnet-node in each namespace; `node` is more keys for its config.

    With `uso` the TAPs must take UDP super-frames; False switches that off again.
    """
    mtu: int = 1500
    node: str = ""
    uso: bool | None = None
    name = "shmnet"

    def up(self, programs):
        def start(stack, client, server):
            self.start_nodes(stack, programs, ((client, CLIENT), (server, SERVER)))
            if self.uso is not None:
                set_uso(client, self.uso)
                set_uso(server, self.uso)
        return wire_up(start)

    def start_nodes(self, stack, programs, ends):
        """A node for each (namespace, address); returns once each sees all others."""
        directory = programs.scratch()
        for part in ("run", "fabric"):
            (directory / part).mkdir(mode=0o700)
        nodes = [self.start_node(stack, programs, directory, number, *end)
                 for number, end in enumerate(ends, 1)]
        for number, (host, _) in enumerate(ends, 1):
            wait_until(lambda: is_ready(programs, nodes, host,
                                        directory / f"run/n{number}.sock"),
                       f"node n{number} ready with its peers")
        return nodes

    def start_node(self, stack, programs, directory, number, namespace, address):
        config = directory / f"n{number}.yaml"
        config.write_text(SHMNET_CONFIG.format(
            id=number, dir=directory, mtu=self.mtu, address=address,
            node=f", {self.node}" if self.node else ""), encoding="ascii")
        return stack.enter_context(namespace.spawn(
            programs.find("src/shmnet-node"), "--config", str(config)))


@contextmanager
def idle_mesh_up(programs, count):
    """Nodes that see each other on hosts that say nothing; yields their processes."""
    with ExitStack() as stack:
        ends = []
        for number in range(1, count + 1):
            namespace = stack.enter_context(Namespace())
            # Or the hosts solicit routers and report groups for a while.
            namespace.run("sh", "-c",
                          "echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6")
            ends.append((namespace, f"10.77.0.{number}"))
        yield Shmnet().start_nodes(stack, programs, ends)


def set_uso(namespace, wanted):
    if "tx-udp-segmentation: on" not in namespace.run("ethtool", "-k", "tap0"):
        raise Missing("this kernel's TAPs take no UDP super-frames (Linux 6.2)")
    if not wanted:
        namespace.run("ethtool", "-K", "tap0", "tx-udp-segmentation", "off")


def is_ready(programs, nodes, host, socket):
    """Asked at its socket, as seen on a host, a node sees all the others."""
    for node in nodes:
        node.check_alive()
    done = subprocess.run(
        host.command(programs.find("cli/shmnetctl"), "-s", str(socket), "--json",
                     "status"), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3, 4):
        raise BenchError(f"shmnetctl: exit {done.returncode}: {done.stderr.strip()}")
    if done.returncode != 0:
        return False
    status = json.loads(done.stdout)
    return status["state"] == "ready" and status["nodes_up"] == len(nodes) - 1
