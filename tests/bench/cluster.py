"""What is reached through one address for all nodes, and what stands beside it.

A client, a border node that the client's network leads to, and servers that have no
network but shmnet's. The client speaks to the global address, or through the border as
a plain router to a server's own address, or to haproxy on the border; the wire between
border and servers is the same.
"""

from contextlib import contextmanager, ExitStack
from dataclasses import dataclass

from lab import Namespace, wait_until
from paths import Wire, is_ready, veth_add

GLOBAL = "10.99.0.1"
OUTSIDE = "192.0.2.%d"
LAN = "10.77.0.%d"
SERVICE_PORT = 8080

CONFIG = """\
node: {{name: n{id}, id: {id}, cluster: bench, runtime_dir: {dir}/run}}
fabrics:
  - {{name: local, kind: shm, path: {dir}/fabric}}
networks:
  - {{name: lan0, kind: local, tap: lan0, address: {lan}/24}}
  - {{name: svc0, kind: global, tap: svc0, address: {address}/32}}
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


def node_start(stack, programs, directory, number, namespace):
    config = directory / f"n{number}.yaml"
    config.write_text(CONFIG.format(id=number, dir=directory, lan=LAN % number,
                                    address=GLOBAL), encoding="ascii")
    return stack.enter_context(namespace.spawn(
        programs.find("src/shmnet-node"), "--config", str(config)))


def outside_join(client, border):
    """The client's only way is the border, and the border a router."""
    veth_add(client, border, "out0")
    client.add_address("out0", f"{OUTSIDE % 2}/24", 1500)
    border.add_address("out0", f"{OUTSIDE % 1}/24", 1500)
    border.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    client.ip("route", "add", "default", "via", OUTSIDE % 1)


def cluster_start(stack, programs, count):
    """The nodes' namespaces; n1 is the border."""
    directory = programs.scratch()
    for part in ("run", "fabric"):
        (directory / part).mkdir(mode=0o700)
    hosts = [stack.enter_context(Namespace()) for _ in range(count)]
    nodes = [node_start(stack, programs, directory, number, host)
             for number, host in enumerate(hosts, 1)]
    for number in range(1, count + 1):
        wait_until(lambda: is_ready(programs, nodes, directory, number),
                   f"node n{number} ready with its peers")
    for host in hosts[1:]:
        host.ip("route", "add", "default", "via", LAN % 1)
    return hosts


@contextmanager
def cluster_up(programs, servers, address):
    with ExitStack() as stack:
        client = stack.enter_context(Namespace())
        hosts = cluster_start(stack, programs, 1 + servers)
        outside_join(client, hosts[0])
        wait_until(lambda: client.can_ping(address), f"ping of {address}")
        yield Cluster(client, hosts[-1], address, hosts)


@dataclass(frozen=True)
class Global:
    """By the address that all nodes share; only the servers listen."""
    servers: int = 1
    name = "global address"

    def up(self, programs):
        return cluster_up(programs, self.servers, GLOBAL)


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
