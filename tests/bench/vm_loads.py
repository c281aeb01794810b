"""What is sent from one machine to the other by RDMA, and what is read off it.

As loads.py. Ours is qp_pair: queue pair, rings and fabric_rdma.c of two nodes without
the nodes. It counts every record, and check() has it compare every byte. The peers are
perftest's programs, as they are but for device and GID.

The number of messages of a measurement follows from the rate of the one before, check()
being the first, so that each takes about as long as it should.

Both sides wait 0.27 s for an acknowledgement (-u 16), as the nodes do: after perftest's
67 ms an emulated machine sends most of it again.
"""

import json
import re
from dataclasses import dataclass, field

from lab import BenchError, CpuClock, wait_until
from vm import DEVICE, GID_INDEX, PATIENCE

PORT = "5202"
PERFTEST_PORT = "18515"  # perftest's own default
PERFTEST_SECONDS = "60"
ATTEMPTS = 3  # ib_send_lat -e on rxe sometimes waits for an event for ever

MEGA = 1e6
MEBI = 1048576
PATH_MTU = "4096[B]"

# Sums over both sides, per frame; each is 1 where every frame is a message of its own.
COSTS = ("immediates", "signalled", "receives")

BW_COLUMNS = "#bytes #iterations BW peak[MB/sec] BW average[MB/sec] MsgRate[Mpps]"
LAT_COLUMNS = ("#bytes #iterations t_min[usec] t_max[usec] t_typical[usec] t_avg[usec] "
               "t_stdev[usec] 99% percentile[usec] 99.9% percentile[usec]")


def perftest_table(output, columns):
    """The numbers of the one line of a table that is known to have these columns."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    if columns not in lines:
        raise BenchError(f"perftest printed no table of {columns}")
    row = " ".join(lines[lines.index(columns) + 1:][:1])
    cells = re.findall(r"\d+(?:\.\d+)?(?= |$)", row)
    if len(cells) != columns.count("[") + 2 or cells != row.split():
        raise BenchError(f"perftest's table has a line that is not numbers: '{row}'")
    return [float(cell) for cell in cells]


def perftest_settings(output):
    """What it says of itself above the table: "Name : value", one or two in a line."""
    return dict(re.findall(r"(\S[^\t:\n]*?) +: (\S+)", output))


@dataclass(frozen=True)
class Counted:
    """A load whose length is a number of messages."""
    size: int = 64
    rates: dict = field(default_factory=dict, compare=False, repr=False,
                        kw_only=True)

    LEAST, FIRST = 16, 64

    def check(self, programs, wire, _megabytes):
        self.keep(self.run(programs, wire, self.FIRST, True))

    def measure(self, programs, wire, seconds):
        count = max(self.LEAST, round(self.rates["per_s"] * seconds))
        result = self.run(programs, wire, count, False)
        self.keep(result)
        return result

    def keep(self, result):
        self.rates["per_s"] = result["messages_per_s"]


@dataclass(frozen=True)
class QpPair(Counted):
    """qp_pair.c, one direction."""
    mode: str = "one"
    options: tuple = ()

    @property
    def name(self):
        return " ".join((f"qp_pair, {self.mode}, {self.size} B", *self.options))

    @property
    def FIRST(self):  # small frames travel hundreds at a time
        return 20000 if self.size < 4096 and self.mode != "pingpong" else 64

    def run(self, programs, wire, count, checks):
        program = programs.find("tests/bench/qp_pair")
        client = (program, "client", wire.address, PORT, "--device", DEVICE,
                  "--mode", self.mode, "--frame", str(self.size), "--count", str(count),
                  *self.options, *(("--check",) if checks else ()))
        server = (program, "server", PORT, "--device", DEVICE)
        with wire.server.spawn(*server) as process:
            process.wait_for_line("listening")
            with CpuClock() as clock:
                output = wire.client.run(*client)
            sides = json.loads(output), json.loads(process.finish())
        return self.figures(sides, clock)

    def figures(self, sides, clock):
        ours, theirs = sides
        frames = ours["sent"] + theirs["sent"]
        result = {"messages_per_s": ours["sent"] / ours["seconds"],
                  "frames_per_s": frames / ours["seconds"],
                  "megabytes_per_s": frames * self.size / ours["seconds"] / MEGA,
                  "cpu_us_per_frame": clock.busy * MEGA / frames,
                  "frames": frames, "rnr": ours["rnr"] + theirs["rnr"],
                  "sleeps": ours["sleeps"] + theirs["sleeps"]}
        for cost in COSTS:
            result[f"{cost}_per_frame"] = (ours[cost] + theirs[cost]) / frames
        result["costs_per_frame"] = max(result[f"{cost}_per_frame"] for cost in COSTS)
        if "p50_us" in ours:
            result |= {"p50_us": ours["p50_us"], "p99_us": ours["p99_us"]}
        return result


@dataclass(frozen=True)
class Perftest(Counted):
    """One of perftest's programs."""
    program: str = "ib_write_bw"
    options: tuple = ()

    @property
    def name(self):
        return " ".join((self.program, "-s", str(self.size), *self.options))

    def run(self, _programs, wire, count, _checks):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self.run_once(wire, count) | {"attempts": attempt}
            except BenchError:
                if attempt == ATTEMPTS:
                    raise
        return None

    def run_once(self, wire, count):
        # -F: it doesn't know the machine's clock rate, and doesn't need to
        command = ("timeout", PERFTEST_SECONDS, self.program, "-d", DEVICE,
                   "-x", GID_INDEX, "-u", "16", "-s", str(self.size), "-n", str(count),
                   "-F", *self.options)
        with wire.server.spawn(*command) as process:
            wait_until(lambda: wire.server.is_listening(PERFTEST_PORT), self.program,
                       PATIENCE)
            with CpuClock() as clock:
                output = wire.client.run(*command, wire.address)
            process.finish()
        settings = perftest_settings(output)
        if settings.get("Mtu") != PATH_MTU or settings.get("Device") != DEVICE:
            raise BenchError(f"{self.name} ran on {settings.get('Device')} with path MTU "
                             f"{settings.get('Mtu')}, not on {DEVICE} with {PATH_MTU}")
        kept = {name: settings[name] for name in ("TX depth", "CQ Moderation")
                if name in settings}
        return {**self.figures(output, count), **kept,
                "cpu_us_per_frame": clock.busy * MEGA / count}

    def figures(self, output, count):
        """Latencies are one way in the table: half a round trip."""
        if self.program.endswith("_lat"):
            row = perftest_table(output, LAT_COLUMNS)
            self.agree(row, count)
            return {"p50_us": 2 * row[4], "p99_us": 2 * row[7],
                    "messages_per_s": MEGA / (2 * row[5])}
        row = perftest_table(output, BW_COLUMNS)
        self.agree(row, count)
        # MB/s has two decimals, millions of messages a second six.
        rate = row[3] * MEBI / self.size if self.size >= 4096 else row[4] * MEGA
        if rate <= 0:
            raise BenchError(f"{self.name}: a rate of 0")
        return {"messages_per_s": rate, "frames_per_s": rate,
                "megabytes_per_s": rate * self.size / MEGA}

    def agree(self, row, count):
        if row[0] != self.size or row[1] != count:
            raise BenchError(f"{self.name} tells of {row[1]:g} messages of {row[0]:g} bytes, "
                             f"not of {count} of {self.size}")
