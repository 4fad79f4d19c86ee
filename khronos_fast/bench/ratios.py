"""Ratios between contenders, taken inside a round and summed up by their median.

A ratio of two medians compares moments that may lie a minute apart. Samples of one round lie milliseconds apart, so
their ratio is about the contenders even when the machine is not the same all the time.
"""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from khronos_fast.bench.units import Unit


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as good `contender` is as `to`: above 1, `contender` is the better one."""

    contender: str
    to: str
    samples: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the rounds' own ratios."""
        return statistics.median(self.samples)


def paired(unit: Unit, samples: Mapping[str, list[float]], contender: str, to: str) -> Ratio:
    """The ratio of two contenders; both have one sample a round, so samples pair up by place."""
    pairs = zip(samples[contender], samples[to], strict=True)
    return Ratio(contender, to, tuple(unit.times_better(value, than) for value, than in pairs))


def all_ratios(unit: Unit, samples: Mapping[str, list[float]], ours: Iterable[str], floor: str) -> Iterator[Ratio]:
    """Ours to everyone, and everyone to the floor: the one that carries over to other machines and runs."""
    ours = [name for name in ours if name in samples]
    for contender in ours:
        yield from (paired(unit, samples, contender, to) for to in samples if to != contender)
    if floor in samples:
        rest = (name for name in samples if name != floor and name not in ours)
        yield from (paired(unit, samples, contender, floor) for contender in rest)


def spread(samples: list[float]) -> float:
    """(max - min) / median: how much to trust the median."""
    middle = statistics.median(samples)
    return (max(samples) - min(samples)) / middle if middle else 0.0
