"""How long things took, counted by classes, as an immutable record."""

from typing import Any, NamedTuple

BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The most seconds of each class but the last one, in which is what took longer."""


class Histogram(NamedTuple):
    """Durations, counted by classes.

    >>> waits = Histogram((90, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0), seconds=0.4)
    >>> waits.count, waits.quantile(0.5) < 0.0001, round(waits.quantile(0.95), 4)
    (100, True, 0.0375)
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How many there were in each class, not cumulated: as many as there are `BOUNDS`, and one more."""
    seconds: float = 0.0
    """All of them together, in seconds."""

    @property
    def count(self) -> int:  # type: ignore[override]
        """How many there were."""
        return sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the seconds that a share `q` of them did not exceed, as if each class were filled evenly.

        None without any. What took longer than the last bound is taken for that long. Raises ValueError where `q` is
        not from 0 to 1. (As Prometheus' `histogram_quantile` has it.)
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q must be from 0 to 1, not {q!r}")
        rank = q * self.count
        if not self.count:
            return None
        below, lower = 0, 0.0
        for bound, count in zip(BOUNDS, self.counts, strict=False):
            if count and below + count >= rank:
                return lower + (bound - lower) * (rank - below) / count
            below += count
            lower = bound
        return lower

    def as_dict(self) -> dict[str, Any]:
        """Return bounds, counts and the sum, ready for JSON."""
        return {"bounds": list(BOUNDS), "counts": list(self.counts), "seconds": self.seconds}
