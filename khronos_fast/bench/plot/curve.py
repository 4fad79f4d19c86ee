"""Several workloads as lines: how a number grows with a size, on a logarithmic x axis."""

import math
import statistics
from collections.abc import Sequence

from khronos_fast.bench.plot.drawing import COLOURS, LEFT, RIGHT, Block, dot, line, polyline, text, title
from khronos_fast.bench.report import OURS, Measured

HEIGHT = 200.0
LABELS = 130
"""Room for the names at the right end of the lines."""
LABEL_STEP = 14.0
TICKS = 4


def curve_chart(points: Sequence[Measured]) -> Block:
    """A line a contender through the medians, its name at its end."""
    first = points[0]
    unit = first.workload.unit
    name = first.workload.curve[0] if first.workload.curve else first.workload.title
    family = first.full_name.rpartition("-")[0]
    shapes, top = title(f"{family}  [{unit.name}, {unit.better} is better]", name)
    sizes = [_size(one) for one in points]
    top += 6
    bottom = top + HEIGHT
    highest = max(statistics.median(samples) for one in points for samples in one.outcome.samples.values())
    step = _nice(highest / TICKS)
    end = step * math.ceil(highest / step)

    def x_of(size: float) -> float:
        low, high = math.log(min(sizes)), math.log(max(sizes))
        return LEFT + (math.log(size) - low) / (high - low) * (RIGHT - LABELS - LEFT)

    def y_of(value: float) -> float:
        return bottom - max(0.0, value) / end * HEIGHT

    for number in range(round(end / step) + 1):
        y = y_of(number * step)
        shapes.append(line(LEFT, y, RIGHT - LABELS, y, "grid" if number else "axis"))
        shapes.append(text(LEFT - 8, y + 4, f"{number * step:,.6g}", "right note"))
    shapes += [text(x_of(size), bottom + 16, f"{size:,.6g}", "middle note") for size in sizes]

    found = dict.fromkeys(name for one in points for name in one.outcome.samples)
    names = sorted(found, key=lambda name: name not in OURS)  # the first colours are ours
    ends: list[tuple[float, float, str]] = []
    for number, contender in enumerate(names):
        colour = number % COLOURS
        there = [one for one in points if contender in one.outcome.samples]
        path = [(x_of(_size(one)), y_of(statistics.median(one.outcome.samples[contender]))) for one in there]
        shapes.append(polyline(path, f"line line-{colour}"))
        shapes += [dot(x, y, f"dot-{colour}") for x, y in path]
        ends.append((path[-1][1], path[-1][0], contender))
    shapes += _labels(ends)
    return Block(top + HEIGHT + 20, shapes)


def _labels(ends: list[tuple[float, float, str]]) -> list[str]:
    """Names at the lines' ends, moved down where two would overlap."""
    shapes, lowest = [], -math.inf
    for y, x, name in sorted(ends):
        lowest = max(y, lowest + LABEL_STEP)
        shapes.append(text(x + 9, lowest + 4, name))
    return shapes


def _size(measured: Measured) -> float:
    return measured.workload.curve[1] if measured.workload.curve else 1.0


def _nice(step: float) -> float:
    """The next of 1, 2, 5, 10, …: axes that a person can read."""
    if step <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    return next((power * factor for factor in (1, 2, 5) if power * factor >= step), power * 10)
