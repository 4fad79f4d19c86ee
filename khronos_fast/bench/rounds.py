"""The measuring protocol: contenders take turns, round by round.

A B C, B C A, C A B, …: a machine that slows down for a second slows all contenders, not the one whose turn happened to
last that long, and no contender always runs on caches and a processor that the same neighbour left behind. A ratio is
taken inside one round, between samples that lie milliseconds apart, and the median of these ratios is reported: it
holds up where the medians themselves drift.
"""

import gc
import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from khronos_fast.bench.loops import empty_loop

EMPTY_LOOP_NS = 2_000_000
Tick = Callable[[float, str], None]
"""(how much of the workload is done, 0 to 1; what runs now)."""


class Case(Protocol):
    """One contender, set up for one workload."""

    def sample(self, loop_ns: float, /) -> float:
        """One number in the workload's unit, the cost of the loop itself (ns a key) taken off."""
        ...

    def close(self) -> None:
        """Free what the case holds."""
        ...


Setup = Callable[[], Case]
BeginRound = Callable[[int], float]
"""Prepares the keys of a round and returns what the empty loop over them costs, ns a key."""


@dataclass(slots=True)
class Details:
    """Further figures of the same contenders: a table of their own, and in the JSON beside the samples."""

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float, ...]]


@dataclass(slots=True)
class Outcome:
    """What came out of one workload."""

    samples: dict[str, list[float]] = field(default_factory=dict)
    details: Details | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@contextmanager
def quiet() -> Generator[None]:
    """Collect garbage now, so that none is collected while the clock runs."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def order_of(names: Sequence[str], round_index: int) -> list[str]:
    """The order of one round: the contenders rotated by one place a round."""
    turn = round_index % len(names) if names else 0
    return [*names[turn:], *names[:turn]]


def loop_cost(keys: Sequence[Any], target: str = "key") -> float:
    """What an empty loop over these keys costs, ns a key: the median of three."""
    loop = empty_loop(target)
    with quiet():
        passes = max(1, EMPTY_LOOP_NS // max(1, loop(keys, 1, {})))
        return statistics.median(loop(keys, passes, {}) for _ in range(3)) / (passes * len(keys))


def interleave(setups: Mapping[str, Setup], begin_round: BeginRound, rounds: int, tick: Tick) -> Outcome:
    """Set every contender up, then measure them in turns. One that raises is reported; the others go on."""
    outcome = Outcome()
    cases: dict[str, Case] = {}
    loop_costs = []
    try:
        begin_round(-1)  # keys to set up and calibrate with, so that the first round's are still new when it comes
        for name, setup in setups.items():
            tick(0.0, f"{name}: setting up")
            with _reporting(outcome, name), quiet():
                cases[name] = setup()
        for round_index in range(rounds):
            loop_ns = begin_round(round_index)
            loop_costs.append(loop_ns)
            order = order_of(list(setups), round_index)
            for place, name in enumerate(order):
                tick((round_index + place / len(order)) / rounds, name)
                if name in cases and name not in outcome.failed:
                    with _reporting(outcome, name), quiet():
                        outcome.samples.setdefault(name, []).append(cases[name].sample(loop_ns))
    finally:
        for name, case in cases.items():
            with _reporting(outcome, name):
                case.close()
    for name in outcome.failed:
        outcome.samples.pop(name, None)
    # In the registry's order, not in that of the first round.
    outcome.samples = {name: outcome.samples[name] for name in setups if name in outcome.samples}
    if any(loop_costs):
        cost = statistics.median(loop_costs)
        outcome.notes.append(f"taken off: the empty loop over the same keys, {cost:.1f} ns a key")
    return outcome


@contextmanager
def _reporting(outcome: Outcome, name: str) -> Generator[None]:
    """Turn what a contender raises into a line of the report.

    Also what is not an `Exception`: a panic in a Rust extension is a `BaseException`. Ctrl-C still stops the run.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        outcome.failed.setdefault(name, f"{type(error).__name__}: {error}".strip(": "))
