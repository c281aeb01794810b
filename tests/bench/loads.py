"""What is sent over a wire, and what is read off it.

measure() runs the load once and returns a dict of figures; check() moves payload
that is compared at the far end. Both start their own server and wait for its end,
so nothing is left on a wire between two measurements.

The congestion control is asked for per socket: only the first namespace of a
machine may make one the default that tcp_allowed_congestion_control leaves out.
pingpong.c does the same.
"""

import hashlib
import json
from dataclasses import dataclass

from lab import BenchError, CpuClock, wait_until

PORT = "5201"
CONGESTION = "cubic"
MESSAGE_SIZE = 64


def timed(wire, server, client, ready="listening"):
    """Runs one server and one client; returns the client's JSON and the CPU clock."""
    with wire.server.spawn(*server) as process:
        process.wait_for_line(ready)
        with CpuClock() as clock:
            output = wire.client.run(*client)
        process.finish()
    return json.loads(output), clock


@dataclass(frozen=True)
class TcpStream:
    """One iperf3 stream; the payload check is a file whose hash is compared."""
    name = "iperf3, one TCP stream"

    def command(self, wire, seconds):
        return ("iperf3", "-c", wire.address, "-p", PORT, "-J", "-C", CONGESTION,
                "-t", str(max(1, round(seconds))))

    def measure(self, _programs, wire, seconds):
        server = ("iperf3", "-s", "-1", "-p", PORT, "--forceflush")
        result, clock = timed(wire, server, self.command(wire, seconds))
        end = result["end"]
        for side in ("sender", "receiver"):
            used = end.get(f"{side}_tcp_congestion")
            if used != CONGESTION:
                raise BenchError(f"iperf3's {side} used {used}, not {CONGESTION}")
        received = end["sum_received"]["bytes"]
        return {"gbps": end["sum_received"]["bits_per_second"] / 1e9,
                "cpu_s_per_gb": clock.busy / (received / 1e9),
                "retransmits": end["sum_sent"]["retransmits"]}

    def check(self, programs, wire, megabytes):
        original, copy = programs.payload(megabytes), programs.scratch() / "copy"
        with wire.server.spawn("socat", "-u", f"TCP-LISTEN:{PORT},reuseaddr",
                               f"CREATE:{copy}") as server:
            wait_until(lambda: wire.server.run("ss", "-Hltn", f"sport = :{PORT}"), "socat")
            wire.client.run("socat", "-u", f"OPEN:{original}", f"TCP:{wire.address}:{PORT}")
            server.finish()
        if file_hash(copy) != file_hash(original):
            raise BenchError(f"{megabytes} MB sent over TCP arrived changed")
        copy.unlink()


@dataclass(frozen=True)
class TcpPingPong:
    """pingpong.c; it compares every byte itself."""
    name = f"pingpong, TCP, {MESSAGE_SIZE} B"

    def measure(self, programs, wire, seconds):
        program = programs.find("tests/bench/pingpong")
        result, clock = timed(wire, (program, "server", PORT),
                              (program, "client", wire.address, PORT, str(seconds)))
        return {"p50_us": result["p50_us"], "p99_us": result["p99_us"],
                "cpu_us_per_trip": clock.busy * 1e6 / result["trips"]}

    def check(self, programs, wire, _megabytes):
        self.measure(programs, wire, 0.1)


@dataclass(frozen=True)
class UdpFlood:
    """udprate.c; it compares every byte itself."""
    size: int = 64
    per_call: int = 1

    @property
    def name(self):
        return f"udprate, UDP, {self.size} B, {self.per_call} per call"

    def measure(self, programs, wire, seconds):
        program, size, per_call = (programs.find("tests/bench/udprate"), str(self.size),
                                   str(self.per_call))
        result, clock = timed(
            wire, (program, "server", PORT, size, per_call),
            (program, "client", wire.address, PORT, size, str(seconds), per_call))
        if not result["delivered"]:
            raise BenchError(f"{result['sent']} datagrams sent, none arrived")
        return {"pps": result["pps"], "sent_pps": result["sent"] / result["seconds"],
                "cpu_us_per_datagram": clock.busy * 1e6 / result["delivered"]}

    def check(self, programs, wire, _megabytes):
        self.measure(programs, wire, 0.1)


def file_hash(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
