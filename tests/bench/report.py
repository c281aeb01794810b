"""The table and the JSON file."""

import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys

from lab import Missing

NOISE_LIMIT = 0.05

VM_NOTES = (
    "V1 to V5: qp_pair, which is two nodes' queue pair, rings and rdma fabric without the "
    "nodes: rings of 1 MiB, bursts of 64.",
    "perftest: RC, one queue pair, TX depth 128, CQ moderation 100 (of 64 KiB: 1); the "
    "same device, GID, path MTU 4096 and timeout.",
    "CPU in rows V: that of the emulation, the programs' start included.",
    "V4: the largest of the three, both sides together. A lost wake-up would end V5.")

COLUMNS = ("row", "what", "beside", "ours", "peer", "unit", "ratio", "range", "reach",
           "stretch", "", "CPU ours / peer")


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        models = [line.split(":", 1)[1].strip() for line in info
                  if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def commit():
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def context(settings, busy, smoke):
    """What a reader must know to repeat the run."""
    command = os.environ.get("BENCH_COMMAND") or shlex.join(sys.argv)
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": cpu_model(),
        "kernel": f"{platform.system()} {platform.release()}",
        "commit": commit(),
        "congestion_control": "cubic, both sides",
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "busy_before": round(busy, 3),
        "user_namespace": os.environ.get("BENCH_ROOT") == "no",
        "smoke": smoke,
    }


def number(value):
    """About three significant digits, thousands set apart."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    if abs(value) >= 1e6:
        return number(value / 1e6) + " M"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    decimals = next((i for i, least in enumerate((100, 10, 0.1)) if value >= least), 3)
    return f"{value:.{decimals}f}"


def goal(row, value):
    if value is None:
        return "-"
    return f"{'<=' if row.better == 'lower' else '>='} {value:g}"


def status(problem):
    return "left out" if isinstance(problem, Missing) else "failed"


def cells(row, figures, problem, smoke):
    head = (row.name, row.what, row.beside)
    goals = (goal(row, row.reach), goal(row, row.stretch))
    if figures is None:
        return head + ("-", "-", "", "-", "-") + goals + (status(problem), "")
    ratios = figures.ratios()
    values = (number(statistics.median(figures.ours)),
              number(statistics.median(figures.peer)), figures.unit,
              number(figures.ratio()), f"{number(min(ratios))}..{number(max(ratios))}")
    verdict = "" if smoke else row.verdict(figures.ratio()) or ""
    return head + values + goals + (verdict, cpu_cell(figures))


def cpu_cell(figures):
    if not figures.cpu:
        return ""
    return f"{number(figures.cpu['ours'])} / {number(figures.cpu['peer'])} {figures.cpu_unit}"


def table(results, about):
    lines = [COLUMNS] + [cells(*result, about["smoke"]) for result in results]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
             for line in lines]
    return "\n".join(["", heading(about), "", *texts, "", *notes(results, about)])


def heading(about):
    lines = {
        "command": about["command"], "date": about["date"],
        "machine": f"{about['machine']}, {about['kernel']}, "
                   f"{about['busy_before']:.0%} busy before the run",
        **({"lab": about["lab"]} if "lab" in about else {}),
        "commit": about["commit"], "TCP": about["congestion_control"],
        "rounds": f"{about['rounds']} of {about['seconds']:g} s, A B A B; medians; the ratio "
                  "is the median of the rounds' ratios, range their smallest and largest"}
    return "\n".join(f"{key:<9}{text}" for key, text in lines.items())


def notes(results, about):
    lines = ["CPU: busy time of all CPUs, whole machine, per unit of payload delivered."]
    problems = {}
    for row, _, problem in results:
        if problem:
            problems.setdefault(f"{status(problem)}: {problem}", []).append(row.name)
    lines += [f"{', '.join(rows)} {why}" for why, rows in problems.items()]
    if "lab" in about:
        lines += VM_NOTES
    if about["smoke"]:
        lines.append("Smoke run: the figures mean nothing.")
    if about["busy_before"] > NOISE_LIMIT:
        lines.append(f"The machine was {about['busy_before']:.0%} busy before the run: "
                     "do not believe the figures.")
    if about["user_namespace"]:
        lines.append("Not root: in a user namespace the TAP steers no queues, so shmnet "
                     "copies once more.")
    return lines


def row_document(row, figures, problem, smoke):
    document = {"row": row.name, "what": row.what, "beside": row.beside,
                "better": row.better, "reach": row.reach, "stretch": row.stretch}
    if figures is None:
        return document | {"error": str(problem)}
    return document | {
        "load": figures.load, "unit": figures.unit,
        "ours": figures.ours, "peer": figures.peer,
        "ratio": figures.ratio(), "ratios": figures.ratios(),
        "verdict": None if smoke else row.verdict(figures.ratio()),
        "cpu": figures.cpu | {"unit": figures.cpu_unit} if figures.cpu else None,
        "samples": figures.samples}


def write_json(path, results, about):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [row_document(*result, about["smoke"]) for result in results]
    path.write_text(json.dumps({"schema": 1, **about, "rows": rows}, indent=1) + "\n",
                    encoding="utf-8")
