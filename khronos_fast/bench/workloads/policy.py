"""How often each policy hits. No clock is read: a slow cache with a good policy looks as good here as it is."""

from functools import partial

from khronos_fast.bench.cases import misses
from khronos_fast.bench.contender import Present, Role
from khronos_fast.bench.rounds import Outcome, interleave
from khronos_fast.bench.workload import Context


class HitRatio:
    """Replays a log once into an empty cache and counts."""

    def __init__(self, present: Present, capacity: int, keys: list[str]) -> None:
        self._present = present
        self._capacity = capacity
        self._keys = keys

    def sample(self, _loop_ns: float) -> float:
        """Percent of the requests that hit."""
        cache = self._present.new(self._capacity)
        try:
            missed = misses(self._present, cache, self._keys, store=True)
        finally:
            self._present.dispose(cache)
        return 100 * (1 - missed / len(self._keys))

    def close(self) -> None:
        """Every sample has freed its own cache."""


def hit_ratio(context: Context, percent: float) -> Outcome:
    """The share of a log's requests that hit in a cache of so many percent of its distinct keys."""
    log = context.log().first(context.settings.log_requests)
    capacity = max(1, round(log.distinct * percent / 100))
    outcome = interleave(
        {present.name: partial(HitRatio, present, capacity, log.keys) for present in context.with_role(Role.HIT_RATIO)},
        begin_round=lambda _round: 0.0,
        rounds=context.settings.hit_ratio_runs,
        tick=context.tick,
    )
    best = 100 * (1 - log.distinct / len(log.keys))
    outcome.notes.append(f"{log.describe()}; a cache of {capacity:,}")
    outcome.notes.append(f"a cache without bounds would hit {best:.2f} %: every request but the first for each key")
    outcome.notes.append(
        "moka-py evicts in batches and holds more than its size meanwhile, which matters at small sizes"
    )
    return outcome
