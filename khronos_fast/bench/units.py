"""What a workload's numbers mean, and which direction is the better one."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measurement."""

    name: str
    better: Literal["lower", "higher"]
    praise: str
    """Completes "khronos_fast is 1.25x …" and "khronos_fast has 1.25x …"."""
    decimals: int | None = None

    def times_better(self, value: float, than: float) -> float:
        """How many times as good the first is as the second: above 1 in the first's favour, whatever the unit."""
        good, bad = (than, value) if self.better == "lower" else (value, than)
        return good / bad if bad > 0 else float("inf") if good > 0 else 1.0

    def text(self, value: float) -> str:
        """The number with the digits that mean something."""
        if self.decimals is not None:
            return f"{value:,.{self.decimals}f}"
        return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


NANOSECONDS = Unit("ns", "lower", "as fast")
MICROSECONDS = Unit("µs", "lower", "as fast")
BYTES = Unit("bytes", "lower", "as small", decimals=1)
PERCENT = Unit("%", "higher", "the hits", decimals=2)
OPENED = Unit("opened", "lower", "as few", decimals=0)
CYCLES_A_SECOND = Unit("cycles/s", "higher", "as fast", decimals=0)
MILLIONS_A_SECOND = Unit("M/s", "higher", "as fast", decimals=2)
