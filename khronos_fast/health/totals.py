"""`Totals`: counters that never go backwards, whatever becomes of what they count.

A component of the same name may take another's place, and a memoized function's figures begin anew with
`cache_clear()`; then what comes is added to what was. And a figure may be a step behind: a pool that takes back what a
cancelled borrower had been lent counts one down. Then the higher one stands until it is reached again.
"""

from __future__ import annotations

from collections.abc import Hashable

MOST_KEYS = 20_000


class Totals:
    """What was counted under each key. Whoever has it sees that one thread at a time uses it.

    >>> totals = Totals()
    >>> totals.count("gets", 5, component=1), totals.count("gets", 4, component=1), totals.count("gets", 2, component=2)
    (5, 5, 7)
    """

    def __init__(self) -> None:
        # By key: the component, what others before it had counted, and the most that it has.
        self._counted: dict[Hashable, tuple[int, float, float]] = {}

    def forget(self, keys: set[Hashable]) -> None:
        """Keep nothing but these, where there is too much of what is not counted any more."""
        if len(self._counted) > MOST_KEYS:
            self._counted = {key: counted for key, counted in self._counted.items() if key in keys}

    def count(self, key: Hashable, figure: float, component: int, *, can_reset: bool = False) -> float:
        """Return the total of a key.

        Args:
            key: of which series.
            figure: what the component tells now.
            component: which one that is.
            can_reset: whether it may begin anew.
        """
        counter, before, most = self._counted.get(key, (component, 0, 0))
        if counter != component or (can_reset and figure < most):
            before, most = before + most, 0
        most = max(most, figure)
        self._counted[key] = (component, before, most)
        return before + most
