"""What a pool holds and has counted, as an immutable record."""

from typing import Any, NamedTuple

from khronos_fast._core.histogram import Histogram
from khronos_fast._core.records import as_dict


class PoolStats(NamedTuple):
    """What a `Pool` or an `AsyncPool` holds now, and what it has counted since it was made.

    >>> PoolStats(size=4, borrowed=3, max_size=10).usage
    0.3
    """

    size: int = 0
    """Resources that are open, whatever they are doing; `created` less `destroyed`."""
    available: int = 0
    """Of these, the ones that are idle."""
    borrowed: int = 0
    """Of these, the ones that are out."""
    waiting: int = 0
    """Borrowers in the line."""
    opening: int = 0
    """Resources that are being opened."""
    min_size: int = 0
    """As many are kept when idle ones are reaped."""
    max_size: int = 0
    """The most that may be open or opening."""
    created: int = 0
    """Resources that were opened."""
    create_failures: int = 0
    """Openings that failed."""
    destroyed: int = 0
    """Resources that were closed, also where `destroy` raised."""
    acquired: int = 0
    """Resources that were lent."""
    timeouts: int = 0
    """Borrowers whose time ran out, or that did not want to wait."""
    rejected: int = 0
    """Borrowers that were turned away, as too many waited."""
    validation_failures: int = 0
    """Resources that `validate` found unfit."""
    expired_idle: int = 0
    """Resources that were closed as nobody had used them for long."""
    expired_lifetime: int = 0
    """Resources that were closed at the end of their longest life."""
    waited: int = 0
    """Of those that were lent, the ones for which the borrower had to wait."""
    wait_seconds: float = 0.0
    """Seconds that borrowers have waited, all together; those that waited in vain included."""
    use_seconds: float = 0.0
    """Seconds that resources were out, all together; those that are still out not included."""
    wait_times: Histogram = Histogram()
    """How long it took to be lent a resource; of those who were."""
    use_times: Histogram = Histogram()
    """How long resources were out."""
    create_times: Histogram = Histogram()
    """How long it took to open one."""

    @property
    def usage(self) -> float:
        """How much of the pool is out, from 0 to 1."""
        return self.borrowed / self.max_size if self.max_size else 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return every figure by name, ready for JSON."""
        figures = as_dict(self)
        figures["wait_times"] = self.wait_times.as_dict()
        figures["use_times"] = self.use_times.as_dict()
        figures["create_times"] = self.create_times.as_dict()
        figures["usage"] = self.usage
        return figures
