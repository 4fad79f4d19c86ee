"""A bar chart of one workload, the best at the top."""

import statistics
from collections.abc import Mapping

from khronos_fast.bench.plot.drawing import LEFT, RIGHT, Block, line, rectangle, text, title
from khronos_fast.bench.report import OURS, Measured
from khronos_fast.bench.units import Unit

ROW = 20.0
BAR = 13.0
CUT_AT = 6
"""Where lower is better, bars longer than so many of the shortest are cut: one slow row would flatten all others."""


def bar_chart(measured: Measured) -> Block:
    """One row a contender: name, bar, whisker, number."""
    unit, samples = measured.workload.unit, measured.outcome.samples
    shapes, top = title(f"{measured.full_name}  [{unit.name}, {unit.better} is better]", measured.workload.title)
    end = _scale_end(unit, samples)
    per_unit = (RIGHT - LEFT) / end
    best_first = sorted(samples, key=lambda name: statistics.median(samples[name]), reverse=unit.better == "higher")
    for place, name in enumerate(best_first):
        shapes += _row(name, samples[name], unit, top + place * ROW, per_unit, end)
    return Block(top + len(samples) * ROW, shapes)


def _row(name: str, samples: list[float], unit: Unit, y: float, per_unit: float, end: float) -> list[str]:
    ours = "-ours" if name in OURS else ""
    middle = statistics.median(samples)
    length = max(0.0, min(middle, end)) * per_unit
    baseline, centre = y + BAR - 2.5, y + BAR / 2
    shapes = [
        text(LEFT - 8, baseline, name, f"right name{ours}"),
        rectangle(LEFT, y, length, BAR, f"bar{ours}"),
    ]
    if middle > end:
        shapes += [line(RIGHT - back, y + BAR + 2, RIGHT - back + 5, y - 2, "cut") for back in (18, 12)]
    reach = length
    if max(samples) <= end and len(samples) > 1:
        low, high = LEFT + max(0.0, min(samples)) * per_unit, LEFT + max(samples) * per_unit
        shapes.append(line(low, centre, high, centre, "whisker"))
        shapes += [line(x, centre - 3, x, centre + 3, "whisker") for x in (low, high)]
        reach = max(length, high - LEFT)
    shapes.append(text(LEFT + reach + 6, baseline, unit.text(middle), f"number name{ours}"))
    return shapes


def _scale_end(unit: Unit, samples: Mapping[str, list[float]]) -> float:
    medians = [statistics.median(values) for values in samples.values()]
    end = max(max(values) for values in samples.values())
    if unit.better == "lower" and max(medians) > CUT_AT * min(medians) > 0:
        end = CUT_AT * min(medians)
    return end if end > 0 else 1.0
