"""Runs the rows that are asked for and reports them; run.sh starts it."""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import plot
import report
import vm
from lab import BenchError, CpuClock, Missing
from paths import idle_mesh_up
from rows import ROWS

UNITS = {"gbps": "Gb/s", "cpu_s_per_gb": "s/GB", "p50_us": "us", "pps": "/s",
         "cpu_percent": "%", "wakeups_per_s": "/s", "frames_per_s": "/s",
         "megabytes_per_s": "MB/s", "connections_per_s": "/s"}
CPU_UNITS = {"cpu_s_per_gb": "s/GB", "cpu_us_per_trip": "us/trip",
             "cpu_us_per_datagram": "us/datagram",
             "cpu_us_per_frame": "us/frame",
             "cpu_us_per_connection": "us/connection"}


@dataclass
class Settings:
    rounds: int
    seconds: float
    check_megabytes: int
    idle_seconds: float
    frames: int  # of the rows that count what must not happen


FULL = Settings(rounds=5, seconds=3, check_megabytes=64, idle_seconds=10, frames=10**6)
SMOKE = Settings(rounds=1, seconds=0.3, check_megabytes=8, idle_seconds=0.3,
                 frames=10**4)
LONG_FRAMES = 10**7
SKIPPED = 77
VM_CHECK_MEGABYTES = 1
VM_SMOKE_ROWS = ("V2", "V3b", "V4", "V5", "V6")  # all programs, in a minute


@dataclass
class Figures:
    """One row's figures: a value per round and side."""
    unit: str
    ours: list
    peer: list
    load: str
    cpu_unit: str = ""
    cpu: dict = field(default_factory=dict)  # "ours" and "peer": the median
    samples: dict = field(default_factory=dict)

    def ratios(self):
        """Round by round: what slows the machine down slows both sides.

        Beside nothing at all, which is what a count of failures is beside, the count.
        """
        return [ours / peer if peer else ours for ours, peer in zip(self.ours, self.peer)]

    def ratio(self):
        return statistics.median(self.ratios())


class Programs:
    """Where the built programs are, and room for files."""

    SCRATCH = Path("/run/bench")  # a tmpfs of our own: see run.sh

    def __init__(self, build):
        self.build, self.count = build, 0

    def find(self, name):
        path = self.build / name
        if not path.exists():
            raise Missing(f"{path} is not built")
        return str(path)

    def scratch(self):
        """A fresh directory."""
        self.count += 1
        path = self.SCRATCH / str(self.count)
        path.mkdir(parents=True, mode=0o700)
        return path

    @functools.cache
    def payload(self, megabytes):
        path = self.scratch() / "payload"
        path.write_bytes(os.urandom(megabytes * 1000000))
        return path


class Bench:
    """What a row's function is given."""

    def __init__(self, programs, settings):
        self.programs, self.settings = programs, settings

    def compare(self, ours, peer, load, metric, peer_load=None):
        samples = self.measure(ours, peer, load, peer_load or load)
        values = {side: [sample[metric] for sample in samples[side]] for side in samples}
        cpu_key = next(key for key in samples["ours"][0] if key in CPU_UNITS)
        cpu = {side: statistics.median(sample[cpu_key] for sample in samples[side])
               for side in samples}
        return Figures(UNITS[metric], values["ours"], values["peer"], load.name,
                       CPU_UNITS[cpu_key], cpu, samples)

    @functools.cache
    def measure(self, ours, peer, load, peer_load):
        """Both wires up, payload checked on each, then A B A B."""
        samples = {"ours": [], "peer": []}
        with ours.up(self.programs) as our_wire, peer.up(self.programs) as peer_wire:
            sides = (("ours", our_wire, load), ("peer", peer_wire, peer_load))
            for _, wire, what in sides:
                what.check(self.programs, wire, self.settings.check_megabytes)
            for _ in range(self.settings.rounds):
                for side, wire, what in sides:
                    samples[side].append(
                        what.measure(self.programs, wire, self.settings.seconds))
        return samples

    def costs(self, path, load, peer_load):
        """Messages per frame where each could be one, of what was measured so."""
        samples = self.measure(path, path, load, peer_load)
        values = [sample["costs_per_frame"] for sample in samples["ours"]]
        return Figures("/frame", values, [1] * len(values), load.name, samples=samples)

    def failures(self, path, loads):
        """What must not happen, in so many frames of these loads, which share them."""
        samples = []
        with path.up(self.programs) as wire:
            for load, part in loads:
                count = max(load.LEAST, round(self.settings.frames * part))
                samples.append(load.run(self.programs, wire, count, True))
        frames = sum(sample["frames"] for sample in samples)
        sleeps = sum(sample["sleeps"] for sample in samples)
        return Figures("", [sum(sample["rnr"] for sample in samples)], [0],
                       f"{frames} frames, {sleeps} sleeps: "
                       + "; ".join(load.name for load, _ in loads),
                       samples={"ours": samples})

    def idle(self, nodes, metric, allowed):
        """What each of the nodes uses, beside what it is allowed to use."""
        samples = self.measure_idle(nodes)
        values = [sample[metric] for sample in samples]
        return Figures(UNITS[metric], values, [allowed] * len(values),
                       f"{nodes} nodes, each of them a sample, "
                       f"{self.settings.idle_seconds:g} s",
                       samples={"ours": samples})

    @functools.cache
    def measure_idle(self, nodes):
        seconds = self.settings.idle_seconds
        with idle_mesh_up(self.programs, nodes) as processes:
            time.sleep(min(seconds, 2))  # what follows a connection
            before = [process.usage() for process in processes]
            time.sleep(seconds)
            after = [process.usage() for process in processes]
        return [{"cpu_percent": (cpu - cpu_before) / seconds * 100,
                 "wakeups_per_s": (sleeps - sleeps_before) / seconds}
                for (cpu_before, sleeps_before), (cpu, sleeps) in zip(before, after)]

    def ring(self, name):
        line = self.lines_of("ring_bench").get(name)
        if line is None:
            raise BenchError(f"ring_bench has no row {name}")
        return Figures(line["unit"], line["ours"], line["peer"], line["name"])

    def flow(self, name):
        line = self.lines_of("flow_bench").get(name)
        if line is None:
            raise Missing("flow_bench was built without DPDK; tests/install.sh bench, and "
                          "configure the build directory anew")
        return Figures(line["unit"], line["ours"], line["peer"], line["name"])

    @functools.cache
    def lines_of(self, program):
        """It measures all its rows at once and prints a line of JSON for each."""
        command = [self.programs.find(f"tests/bench/{program}"),
                   "--json", "--rounds", str(self.settings.rounds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{program}: exit {done.returncode}: {done.stderr.strip()}")
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {line["row"]: line for line in lines}


def machine_load():
    """How busy the machine is before anything is measured, as a part of all CPUs."""
    with CpuClock() as clock:
        time.sleep(1)
    return clock.busy / clock.wall / os.cpu_count()


def measure_rows(bench, rows):
    """A list of (row, figures or None, what went wrong or None)."""
    results = []
    for row in rows:
        print(f"{row.name}: {row.what}, beside {row.beside}", file=sys.stderr, flush=True)
        figures = problem = None
        try:
            figures = row.measure(bench)
        except BenchError as error:
            problem = error
            print(f"{row.name}: {error}", file=sys.stderr, flush=True)
        results.append((row, figures, problem))
    return results


def rows_parse(text):
    rows = {row.name.lower(): row for row in ROWS}
    wanted = text.lower().split(",")
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no row {', '.join(unknown)}; there are "
            f"{', '.join(row.name for row in ROWS)}")
    return [rows[name] for name in wanted]


def arguments_parse():
    parser = argparse.ArgumentParser(
        prog="tests/bench/run.sh", description="Measures shmnet beside its peers.")
    parser.add_argument("--vm", action="store_true",
                        help="rows V, in virtual machines with Soft-RoCE")
    parser.add_argument("--rows", type=rows_parse, metavar="H1,H3,...",
                        help="these rows only: " + " ".join(row.name for row in ROWS))
    parser.add_argument("-r", "--rounds", type=int, metavar="N",
                        help=f"rounds of each row, default {FULL.rounds}")
    parser.add_argument("-t", "--seconds", type=float, metavar="S",
                        help=f"of each measurement, default {FULL.seconds}")
    parser.add_argument("--smoke", action="store_true",
                        help="one short round each; no figure is judged")
    parser.add_argument("--long", action="store_true",
                        help=f"V5 with {LONG_FRAMES} frames, not {FULL.frames}")
    parser.add_argument("--build", type=Path, default=Path("build"), metavar="DIR",
                        help="use the programs in DIR as they are; default: build them")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="default: bench/results.json, with --vm bench/vm.json, in the "
                             "build directory")
    parser.add_argument("--svg", type=Path, metavar="FILE",
                        help="default: beside the JSON file")
    arguments = parser.parse_args()
    if arguments.rounds is not None and arguments.rounds < 1:
        parser.error("at least one round")
    if arguments.rows is None:
        arguments.rows = [row for row in ROWS if row.vm == arguments.vm and
                          not (row.vm and arguments.smoke and row.name not in VM_SMOKE_ROWS)]
    foreign = [row.name for row in arguments.rows if row.vm != arguments.vm]
    if foreign:
        parser.error(f"{', '.join(foreign)} {'without' if arguments.vm else 'with'} --vm")
    return arguments


def settings_make(arguments):
    base = SMOKE if arguments.smoke else FULL
    return Settings(arguments.rounds or base.rounds, arguments.seconds or base.seconds,
                    VM_CHECK_MEGABYTES if arguments.vm else base.check_megabytes,
                    base.idle_seconds, LONG_FRAMES if arguments.long else base.frames)


def main():
    arguments = arguments_parse()
    settings = settings_make(arguments)
    programs = Programs(arguments.build.resolve())
    context = report.context(settings, machine_load(), arguments.smoke)
    if arguments.vm:
        try:
            context["lab"] = vm.start(programs)
        except Missing as error:
            print(f"SKIP: {error}")
            return SKIPPED
    results = measure_rows(Bench(programs, settings), arguments.rows)
    name = "vm" if arguments.vm else "results"
    json_path = arguments.json or arguments.build / f"bench/{name}.json"
    svg_path = arguments.svg or json_path.with_suffix(".svg")
    print(report.table(results, context))
    report.write_json(json_path, results, context)
    plot.write_svg(svg_path, results, context)
    print(f"\n{json_path}\n{svg_path}")
    problems = [problem for _, _, problem in results if problem]
    return 1 if any(not isinstance(problem, Missing) for problem in problems) else 0


if __name__ == "__main__":
    sys.exit(main())
