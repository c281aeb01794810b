"""The rows of the table, one function each, in the order in which they print.

A row is a figure of shmnet beside the same figure of a peer; in H10 beside what it
may come to. `reach` and `stretch` are the ratios to come to: at least, or, where
less is better, at most.
Rows M are without shmnet: M1 to M3 compare veth with itself, so what differs from
1 there is noise; the others place the peers beside each other.
Rows V are measured in virtual machines and beside nothing else: see vm.py.
"""

from dataclasses import dataclass
from typing import Callable

from cluster import Direct, Global, Haproxy, Ipvs
from http_loads import NewConnections
from loads import TcpPingPong, TcpStream, UdpFlood
from paths import Pump, Shmnet, Veth, Vde, Vxlan
from vm import Link, ShmnetRdma
from vm_loads import Perftest, QpPair

NO_SPIN = Shmnet(node="spin_us: 0")
IDLE_NODES = 9
HEARTBEATS_PER_S = 5  # the default interval is 200 ms
BULK = UdpFlood(1200, per_call=40)
LINK = Link()
SMALL = QpPair(64), Perftest(64)
STANDARD = QpPair(1514), Perftest(1514)
# Small rings and bursts, so that both sides wait for room and for frames all the time.
RESTLESS = ((QpPair(64, "both", ("--ring", "262144", "--burst", "16")), 0.498),
            (QpPair(1514, "pingpong"), 0.002))


@dataclass(frozen=True)
class Row:
    name: str
    what: str
    beside: str
    measure: Callable
    reach: float | None = None
    stretch: float | None = None
    better: str = "higher"
    vm: bool = False

    def verdict(self, ratio):
        """stretch, reach, or below; None for a row without a goal."""
        if self.reach is None:
            return None
        for name, goal in (("stretch", self.stretch), ("reach", self.reach)):
            if goal is None:
                continue
            if ratio >= goal if self.better == "higher" else ratio <= goal:
                return name
        return "below"


ROWS = []


def row(name, what, beside, **goals):
    def register(measure):
        ROWS.append(Row(name, what, beside, measure, **goals))
        return measure
    return register


@row("H1", "one TCP stream, MTU 1500", "veth", reach=0.55, stretch=0.7)
def h1(bench):
    return bench.compare(Shmnet(), Veth(), TcpStream(), "gbps")


@row("H2", "one TCP stream, MTU 65521", "veth, MTU 1500", reach=0.6, stretch=0.9)
def h2(bench):
    return bench.compare(Shmnet(mtu=65521), Veth(), TcpStream(), "gbps")


@row("H3", "one TCP stream, MTU 1500", "vde_switch", reach=20, stretch=40)
def h3(bench):
    return bench.compare(Shmnet(), Vde(), TcpStream(), "gbps")


@row("H4", "one TCP stream, MTU 1500", "VXLAN over veth", reach=0.9, stretch=1.3)
def h4(bench):
    return bench.compare(Shmnet(), Vxlan(), TcpStream(), "gbps")


@row("H5", "one TCP stream, MTU 1500", "bare pump", reach=0.9, stretch=1.05)
def h5(bench):
    return bench.compare(Shmnet(), Pump(), TcpStream(), "gbps")


@row("H6", "UDP 1200 B, 40 per call, with USO", "without USO", reach=2, stretch=4)
def h6(bench):
    return bench.compare(Shmnet(uso=True), Shmnet(uso=False), BULK, "pps")


@row("H7", "TCP 64 B ping-pong, median", "veth", reach=0.6, stretch=0.3, better="lower")
def h7(bench):
    return bench.compare(Shmnet(), Veth(), TcpPingPong(), "p50_us")


@row("H7b", "the same without spinning", "veth", reach=1.5, stretch=1.2, better="lower")
def h7b(bench):
    return bench.compare(NO_SPIN, Veth(), TcpPingPong(), "p50_us")


@row("H9", "CPU per GB at H1's load", "veth", reach=1.8, stretch=1.4, better="lower")
def h9(bench):
    return bench.compare(Shmnet(), Veth(), TcpStream(), "cpu_s_per_gb")


@row("H10", "idle node with 8 peers, CPU", "0.1 %", reach=1, better="lower")
def h10(bench):
    return bench.idle(IDLE_NODES, "cpu_percent", 0.1)


@row("H10b", "the same, wake-ups", "heartbeats, 5/s", reach=1.1, better="lower")
def h10b(bench):
    return bench.idle(IDLE_NODES, "wakeups_per_s", HEARTBEATS_PER_S)


@row("H11", "UDP 64 B, delivered", "veth", reach=1.0, stretch=1.15)
def h11(bench):
    return bench.compare(Shmnet(), Veth(), UdpFlood(64), "pps")


@row("D2", "TCP through the global address", "the server's own address", reach=0.97,
     stretch=0.995)
def d2(bench):
    return bench.compare(Global(), Direct(), TcpStream(), "gbps")


@row("D3", "new connections by the global address", "haproxy on the border", reach=3,
     stretch=5)
def d3(bench):
    return bench.compare(Global(servers=2), Haproxy(servers=2), NewConnections(),
                         "connections_per_s")


@row("D3d", "new connections by the global address, one server", "the server's own address")
def d3d(bench):
    return bench.compare(Global(), Direct(), NewConnections(), "connections_per_s")


@row("R1", "pair ring, 64 B, two processes", "AF_UNIX SEQPACKET", reach=50, stretch=150)
def r1(bench):
    return bench.ring("R1")


@row("R3", "pair ring, 1500 B", "memcpy on one core", reach=0.6, stretch=0.9)
def r3(bench):
    return bench.ring("R3")


@row("R4", "pair ring, polled round trip", "cache-line ping-pong", reach=2, stretch=1.3,
     better="lower")
def r4(bench):
    return bench.ring("R4")


@row("R5", "cast to 8 readers, 64 B, by sender's CPU", "8 pair-ring sends", reach=3,
     stretch=7)
def r5(bench):
    return bench.ring("R5")


@row("R5b", "the same, by the CPU of all", "8 pair-ring sends")
def r5b(bench):
    return bench.ring("R5b")


@row("R5c", "cast to 8 readers, 1500 B, by sender's CPU", "8 pair-ring sends")
def r5c(bench):
    return bench.ring("R5c")


@row("R5d", "the same, by the CPU of all", "8 pair-ring sends")
def r5d(bench):
    return bench.ring("R5d")


@row("D1", "flow look-ups, 1 M flows, one core", "DPDK rte_hash bulk", reach=1, stretch=2)
def d1(bench):
    return bench.flow("D1")


@row("D1b", "the same, one at a time", "DPDK rte_hash bulk")
def d1b(bench):
    return bench.flow("D1b")


@row("D4d", "bytes per flow, of the flow cache alone", "IPVS: 128 and more", better="lower")
def d4d(bench):
    return bench.flow("D4d")


@row("M1", "veth, one TCP stream", "itself")
def m1(bench):
    return bench.compare(Veth(), Veth(), TcpStream(), "gbps")


@row("M2", "veth, TCP 64 B ping-pong", "itself", better="lower")
def m2(bench):
    return bench.compare(Veth(), Veth(), TcpPingPong(), "p50_us")


@row("M3", "veth, UDP 64 B", "itself")
def m3(bench):
    return bench.compare(Veth(), Veth(), UdpFlood(64), "pps")


@row("M4", "bare pump, one TCP stream", "veth")
def m4(bench):
    return bench.compare(Pump(), Veth(), TcpStream(), "gbps")


@row("M5", "VXLAN over veth, one TCP stream", "veth")
def m5(bench):
    return bench.compare(Vxlan(), Veth(), TcpStream(), "gbps")


@row("M6", "veth, one TCP stream", "vde_switch")
def m6(bench):
    return bench.compare(Veth(), Vde(), TcpStream(), "gbps")


@row("V1", "RDMA ring, 64 KiB frames", "ib_write_bw -s 65536", reach=0.9, stretch=0.98,
     vm=True)
def v1(bench):
    return bench.compare(LINK, LINK, QpPair(65536), "megabytes_per_s", Perftest(65536))


@row("V1a", "the same", "ib_write_bw -s 65536 -t 16: 1 MiB in flight, too", vm=True)
def v1a(bench):
    return bench.compare(LINK, LINK, QpPair(65536), "megabytes_per_s",
                         Perftest(65536, options=("-t", "16")))


@row("V1b", "RDMA ring, 1514 B frames", "ib_write_bw -s 1514", vm=True)
def v1b(bench):
    return bench.compare(LINK, LINK, STANDARD[0], "megabytes_per_s", STANDARD[1])


@row("V2", "RDMA ring, 64 B frames", "ib_write_bw -s 64", reach=5, stretch=15, vm=True)
def v2(bench):
    return bench.compare(LINK, LINK, SMALL[0], "frames_per_s", SMALL[1])


@row("V3", "64 B round trip, polled", "ib_write_lat -s 64", reach=1.3, stretch=1.05,
     better="lower", vm=True)
def v3(bench):
    return bench.compare(LINK, LINK, QpPair(64, "pingpong", ("--poll",)), "p50_us",
                         Perftest(64, "ib_write_lat"))


@row("V3b", "64 B round trip, by events", "ib_send_lat -s 64 -e", reach=1.2, stretch=1.0,
     better="lower", vm=True)
def v3b(bench):
    return bench.compare(LINK, LINK, QpPair(64, "pingpong"), "p50_us",
                         Perftest(64, "ib_send_lat", ("-e",)))


@row("V4", "immediates, signalled, receives per 64 B frame", "1 each", reach=1 / 32,
     stretch=1 / 256, better="lower", vm=True)
def v4(bench):
    return bench.costs(LINK, *SMALL)


@row("V4b", "the same, 1514 B frames", "1 each", reach=1 / 32, stretch=1 / 256,
     better="lower", vm=True)
def v4b(bench):
    return bench.costs(LINK, *STANDARD)


@row("V5", "RNR NAKs, lost wake-ups", "none", reach=0, better="lower", vm=True)
def v5(bench):
    return bench.failures(LINK, RESTLESS)


@row("D3v", "new connections by the global address, one machine", "IPVS on the border",
     reach=1, stretch=1.8, vm=True)
def d3v(bench):
    return bench.compare(Global(servers=2, in_vm=True), Ipvs(servers=2), NewConnections(),
                         "connections_per_s")


@row("V6", "TCP through shmnet over RDMA, MTU 4200", "the same link, MTU 4200", vm=True)
def v6(bench):
    return bench.compare(ShmnetRdma(), LINK, TcpStream(), "gbps")


@row("V6b", "TCP 64 B ping-pong, median", "the same link", better="lower", vm=True)
def v6b(bench):
    return bench.compare(ShmnetRdma(), LINK, TcpPingPong(), "p50_us")
