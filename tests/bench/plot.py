"""One picture of a run: each row's ratio on a logarithmic axis, with its goals.

SVG by hand. A bar goes from the peer (1x) to the median, a dot is a round, two
triangles are the goals and point to where better is. Rows without figures are
not drawn.
"""

import math
import statistics
from xml.sax.saxutils import escape

from report import number

WIDTH, LEFT, RIGHT, TOP, BOTTOM, ROW = 1200, 260, 260, 92, 78, 42
PLOT = WIDTH - LEFT - RIGHT

COLOURS = {"stretch": "#1a7f37", "reach": "#2f6fb0", "below": "#c2571a", None: "#8c959f"}
INK, FAINT, GRID = "#1f2328", "#57606a", "#e3e7eb"
LABELS = {"stretch": "stretch reached", "reach": "reach reached", "below": "below",
          None: "no goal"}

STYLE = ("text{font-family:Helvetica,Arial,sans-serif;font-size:13px}"
         ".small{font-size:11px}.ratio{font-weight:bold}"
         ".title{font-size:17px;font-weight:bold}")


class Axis:
    """Ratio to x, over whole steps of 1, 2, 5 that hold all values."""

    def __init__(self, values):
        steps = [step * 10 ** power for power in range(-4, 5) for step in (1, 2, 5)]
        low, high = max(min(values + [0.5]), 0.001), max(values + [2])
        self.low = max(step for step in steps if step < low)
        self.high = min(step for step in steps if step > high)
        self.ticks = [step for step in steps if self.low <= step <= self.high]

    def x(self, ratio):
        part = math.log(max(ratio, self.low) / self.low) / math.log(self.high / self.low)
        return LEFT + PLOT * min(max(part, 0), 1)


def text(x, y, content, colour=INK, anchor="start", style=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}"'
            f' class="{style}">{escape(content)}</text>')


def rectangle(x0, x1, y, height, colour):
    return (f'<rect x="{min(x0, x1):.1f}" y="{y:.1f}" width="{abs(x1 - x0):.1f}"'
            f' height="{height:.1f}" fill="{colour}"/>')


def line(x0, y0, x1, y1, colour, width=1):
    return (f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"'
            f' stroke="{colour}" stroke-width="{width}"/>')


def grid(axis, bottom):
    parts = []
    for tick in axis.ticks:
        x, one = axis.x(tick), tick == 1
        parts.append(line(x, TOP - 6, x, bottom, INK if one else GRID, 1.5 if one else 1))
        parts.append(text(x, bottom + 16, f"{tick:g}x", FAINT, "middle", "small"))
    return parts


def triangle(x, y, size, colour, filled):
    """Points right for a positive size, left for a negative one; its base is at x."""
    return (f'<path d="M{x:.1f},{y - 5:.1f} l{size:.1f},5 l{-size:.1f},5 z" fill="'
            f'{colour if filled else "#ffffff"}" stroke="{colour}" stroke-width="1.5"/>')


def dot(x, y):
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{INK}" fill-opacity="0.55"/>'


def goals_draw(axis, row, y):
    size = 7 if row.better == "higher" else -7
    goals = ((row.reach, COLOURS["reach"], False), (row.stretch, COLOURS["stretch"], True))
    return [triangle(axis.x(goal), y, size, colour, filled)
            for goal, colour, filled in goals if goal is not None]


def figures_text(figures):
    ours, peer = (number(statistics.median(side)) for side in (figures.ours, figures.peer))
    cpu = figures.cpu
    return (f"{ours} beside {peer} {figures.unit}",
            f"CPU {number(cpu['ours'])} beside {number(cpu['peer'])} {figures.cpu_unit}"
            if cpu else "")


def row_draw(axis, row, figures, y, judged):
    middle, bar, ratio = y + ROW / 2, y + ROW / 2 + 6, figures.ratio()
    colour = COLOURS[row.verdict(ratio) if judged else None]
    first, second = figures_text(figures)
    less = ", less is better" if row.better == "lower" else ""
    return [
        text(16, middle - 2, f"{row.name}  {row.what}"),
        text(16, middle + 13, f"beside {row.beside}{less}", FAINT, style="small"),
        line(LEFT, y + ROW, LEFT + PLOT, y + ROW, GRID),
        rectangle(axis.x(1), axis.x(ratio), bar - 5, 10, colour),
        line(axis.x(ratio), bar - 8, axis.x(ratio), bar + 8, colour, 3),
        *(dot(axis.x(value), bar) for value in figures.ratios()),
        *goals_draw(axis, row, middle - 11),
        text(LEFT + PLOT + 14, middle + 5, f"{number(ratio)}x", colour, style="ratio"),
        text(LEFT + PLOT + 78, middle - 2, first, style="small"),
        text(LEFT + PLOT + 78, middle + 13, second, FAINT, style="small")]


def legend(y):
    """Two lines: the marks, then the colours."""
    marks = [(triangle(LEFT, y - 4, 7, COLOURS["reach"], False), "goal: reach"),
             (triangle(LEFT + 110, y - 4, 7, COLOURS["stretch"], True), "goal: stretch"),
             (dot(LEFT + 226, y - 4), "one round"),
             (rectangle(LEFT + 330, LEFT + 344, y - 10, 12, COLOURS[None]), "1x to median")]
    parts = []
    for i, (mark, label) in enumerate(marks):
        parts += [mark, text(LEFT + 110 * i + 20, y, label, FAINT, style="small")]
    for i, (verdict, label) in enumerate(LABELS.items()):
        x = LEFT + 110 * i
        parts += [rectangle(x, x + 12, y + 11, 10, COLOURS[verdict]),
                  text(x + 20, y + 20, label, FAINT, style="small")]
    return parts


def write_svg(path, results, about):
    drawn = [(row, figures) for row, figures, _ in results if figures]
    goals = [goal for row, _ in drawn for goal in (row.reach, row.stretch) if goal]
    axis = Axis(goals + [ratio for _, figures in drawn for ratio in figures.ratios()])
    bottom = TOP + ROW * len(drawn)
    height = bottom + BOTTOM
    title = "shmnet beside its peers" + (" (smoke run: figures mean nothing)"
                                         if about["smoke"] else "")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}"><style>{STYLE}</style>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(16, 30, title, style="title"),
        text(16, 50, f"{about.get('lab', about['kernel'])}; {about['date']};"
             f" commit {about['commit']}; {about['rounds']} rounds of"
             f" {about['seconds']:g} s; TCP: {about['congestion_control']}", FAINT,
             style="small"),
        text(16, 66, about["command"], FAINT, style="small")]
    rows = []
    for i, (row, figures) in enumerate(drawn):
        rows += row_draw(axis, row, figures, TOP + ROW * i, not about["smoke"])
    parts += grid(axis, bottom) + rows + legend(bottom + 42) + ["</svg>"]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
