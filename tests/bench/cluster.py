"""What is reached through one address for all nodes, and what stands beside it.

A client, a border node that the client's network leads to, and servers that have no
network but shmnet's. The client speaks to the global address, or through the border as
a plain router to a server's own address, or to haproxy on the border; the wire between
border and servers is the same.
"""

import itertools
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass

import vm
from lab import Namespace, wait_until
from paths import Wire, is_ready, veth_add

GLOBAL = "10.99.0.1"
IPVS_ADDRESS = "10.99.0.2"
OUTSIDE = "192.0.2.%d"
LAN = "10.77.0.%d"
SERVICE_PORT = 8080

CONFIG = """\
node: {{name: n{id}, id: {id}, cluster: bench, runtime_dir: {dir}}}
fabrics:
  - {{name: local, kind: shm, path: {dir}/fabric}}
networks:
  - {{name: lan0, kind: local, tap: lan0, address: {lan}/24}}
  - {{name: svc0, kind: global, tap: svc0, address: {address}/32, ephemeral: shared}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen service
    bind {front}
    balance roundrobin
{servers}"""


@dataclass
class Cluster(Wire):
    """A Wire to the last node, or to any of them."""
    nodes: list = None


class Hosts:
    """Where the namespaces are made: on this machine, or in a virtual one."""

    numbers = itertools.count(1)

    def __init__(self, in_vm):
        self.make = vm.Guest if in_vm else Namespace
        self.patience = vm.PATIENCE if in_vm else 10

    def directory(self, host):
        """One for sockets, which a directory that machines share can't have."""
        path = f"/run/bench-cluster{next(self.numbers)}"
        host.run("mkdir", "-p", "-m", "700", f"{path}/fabric")
        return path


def node_start(stack, programs, directory, number, namespace):
    config = programs.scratch() / f"n{number}.yaml"
    config.write_text(CONFIG.format(id=number, dir=directory, lan=LAN % number,
                                    address=GLOBAL), encoding="ascii")
    return stack.enter_context(namespace.spawn(
        programs.find("src/shmnet-node"), "--config", str(config)))


def ports_widen(hosts):
    """Who connects, the client or a proxy, must not run out of ports: looking for one
    that is not in TIME_WAIT would be what is measured."""
    for host in hosts:
        host.run("sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535",
                 "net.ipv4.tcp_tw_reuse=1")


def outside_join(client, border):
    """The client's only way is the border, and the border a router."""
    veth_add(client, border, "out0")
    client.add_address("out0", f"{OUTSIDE % 2}/24", 1500)
    border.add_address("out0", f"{OUTSIDE % 1}/24", 1500)
    border.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    client.ip("route", "add", "default", "via", OUTSIDE % 1)


def cluster_start(stack, programs, where, count):
    """The nodes' namespaces; n1 is the border."""
    hosts = [stack.enter_context(where.make()) for _ in range(count)]
    directory = where.directory(hosts[0])
    nodes = [node_start(stack, programs, directory, number, host)
             for number, host in enumerate(hosts, 1)]
    for number, host in enumerate(hosts, 1):
        wait_until(lambda: is_ready(programs, nodes, host, f"{directory}/n{number}.sock"),
                   f"node n{number} ready with its peers", where.patience)
    for host in hosts[1:]:
        host.ip("route", "add", "default", "via", LAN % 1)
    return hosts


@contextmanager
def cluster_up(programs, servers, address, in_vm=False):
    if in_vm:
        vm.machines(programs.SCRATCH)
    where = Hosts(in_vm)
    with ExitStack() as stack:
        client = stack.enter_context(where.make())
        hosts = cluster_start(stack, programs, where, 1 + servers)
        outside_join(client, hosts[0])
        ports_widen([client, *hosts])
        wait_until(lambda: client.can_ping(address), f"ping of {address}", where.patience)
        yield Cluster(client, hosts[-1], address, hosts)


@dataclass(frozen=True)
class Global:
    """By the address that all nodes share; only the servers listen."""
    servers: int = 1
    in_vm: bool = False
    name = "global address"

    def up(self, programs):
        return cluster_up(programs, self.servers, GLOBAL, self.in_vm)


@dataclass(frozen=True)
class Direct:
    """By the server's own address, which the border routes to."""
    name = "the server's own address"

    def up(self, programs):
        return cluster_up(programs, 1, LAN % 2)


@dataclass(frozen=True)
class Haproxy:
    """haproxy on the border, one thread, TCP."""
    servers: int = 1
    name = "haproxy"

    @contextmanager
    def up(self, programs):
        lines = "".join(f"    server s{number} {LAN % number}:{SERVICE_PORT}\n"
                        for number in range(2, 2 + self.servers))
        config = programs.scratch() / "haproxy.cfg"
        config.write_text(HAPROXY.format(front=f"{OUTSIDE % 1}:{SERVICE_PORT}",
                                         servers=lines), encoding="ascii")
        with cluster_up(programs, self.servers, OUTSIDE % 1) as wire:
            border = wire.nodes[0]
            with border.spawn("haproxy", "-f", str(config)) as proxy:
                wait_until(lambda: border.run("ss", "-Hltn", f"sport = :{SERVICE_PORT}"),
                           "haproxy")
                proxy.check_alive()
                yield wire


@dataclass(frozen=True)
class Ipvs:
    """IPVS on the border of a virtual machine's hosts: round robin, direct routing."""
    servers: int = 1
    name = "IPVS"

    @contextmanager
    def up(self, programs):
        with cluster_up(programs, self.servers, OUTSIDE % 1, in_vm=True) as wire:
            border, servers = wire.nodes[0], wire.nodes[1:]
            border.run("modprobe", "-a", "ip_vs", "ip_vs_rr")
            for host in wire.nodes:
                host.ip("address", "add", f"{IPVS_ADDRESS}/32", "dev", "lo")
            service = f"{IPVS_ADDRESS}:{SERVICE_PORT}"
            border.run("ipvsadm", "-A", "-t", service, "-s", "rr")
            for number, _ in enumerate(servers, 2):
                border.run("ipvsadm", "-a", "-t", service, "-r",
                           f"{LAN % number}:{SERVICE_PORT}", "-g")
            wire.address = IPVS_ADDRESS
            yield wire
