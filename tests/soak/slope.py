"""Whether something grows: a straight line through what was measured, and how sure its slope is.

The figures of a process wander: each is near the one before. So the standard error of the slope, which takes them for
independent, is widened by what the residuals of neighbours have in common.

The rule: it grows if the slope is more than three standard errors above nothing, *and* what it comes to over the time
is more than a floor, below which it is as good as nothing: a page here, an arena there.
"""

import math
import statistics
from itertools import pairwise
from typing import NamedTuple

SURE = 3.0  # standard errors
FEWEST = 8  # figures that a judgement takes
# What growth is as good as none, over the whole time: this much, or this share of the median.
FLOORS = {
    "rss_mb": (2.0, 0.02),
    "heap_mb": (1.0, 0.02),
    "blocks": (5000, 0.02),
    "objects": (500, 0.02),
    "threads": (3, 0.0),
    "files": (5, 0.0),
}


class Trend(NamedTuple):
    slope: float
    """A second."""
    error: float
    """Of the slope, standard."""
    growth: float
    """What the slope comes to over the time."""
    floor: float
    grows: bool


def trend(name, times, values):
    """The trend of a figure (see FLOORS); None where there are too few."""
    count = len(times)
    if count < FEWEST:
        return None
    line = statistics.linear_regression(times, values)
    residuals = [value - line.slope * time - line.intercept for time, value in zip(times, values, strict=True)]
    squares = sum(residual * residual for residual in residuals)
    spread = sum((time - statistics.fmean(times)) ** 2 for time in times)
    error = math.sqrt(squares / (count - 2) / spread)
    if squares > 0:
        common = sum(one * other for one, other in pairwise(residuals)) / squares
        common = min(max(common, 0.0), 0.9)
        error *= math.sqrt((1 + common) / (1 - common))
    growth = line.slope * (times[-1] - times[0])
    least, share = FLOORS[name]
    floor = max(least, share * statistics.median(values))
    return Trend(line.slope, error, growth, floor, line.slope > SURE * error and growth > floor)
