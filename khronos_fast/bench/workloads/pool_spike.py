"""A spike: many borrowers at once, and connections that take much longer to open than what is done with them.

The few that are open could serve all borrowers before another one has been opened. How many a pool has opened by the
end is counted when none is on its way any more.
"""

import statistics
from contextlib import closing
from functools import partial

from khronos_fast.bench.pooler import Face, PresentPooler, Size, holding_crowd
from khronos_fast.bench.rounds import Details, Outcome, interleave
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.workload import Context

LEAST = 5
WORK_SECONDS = 0.002
FIGURES = ("all served", "mean wait", "longest wait")


class Spike:
    """One spike a sample, each on a pool of its own."""

    def __init__(
        self, present: PresentPooler, settings: Settings, spikes: list[tuple[float, ...]], *, cold: bool
    ) -> None:
        self._present = present
        self._borrowers = settings.spike_borrowers
        self._seconds = settings.spike_connect
        self._spikes = spikes
        self._cold = cold

    def sample(self, _loop_ns: float) -> float:
        """How many connections have been opened, those before the spike included."""
        with closing(self._present.open(Size(LEAST, self._borrowers), self._seconds)) as opened:
            if not self._cold:
                opened.open(LEAST)
            waits: list[int] = []
            crowd = holding_crowd(opened, WORK_SECONDS, waits)
            served = crowd.run([(0,)] * self._borrowers)
            self._spikes.append((served / 1e6, statistics.fmean(waits) / 1e6, max(waits) / 1e6))
            return opened.settle()

    def close(self) -> None:
        """Every sample has closed its own pool."""


def spike(context: Context, face: Face, *, cold: bool) -> Outcome:
    """With the least that a pool keeps open before, or cold, with none."""
    settings = context.settings
    presents = [present for present in context.poolers(face) if present.contender.connects]
    able = [present for present in presents if present.contender.can_start_cold or not cold]
    spikes: dict[str, list[tuple[float, ...]]] = {present.name: [] for present in able}
    outcome = interleave(
        {present.name: partial(Spike, present, settings, spikes[present.name], cold=cold) for present in able},
        begin_round=lambda _round: 0.0,
        rounds=settings.spike_runs,
        tick=context.tick,
    )
    outcome.details = Details(
        "ms from the beginning, and ms that a borrower waited; medians of the rounds",
        FIGURES,
        {name: tuple(map(statistics.median, zip(*spikes[name], strict=True))) for name in outcome.samples},
    )
    outcome.notes.append(f"pools keep {LEAST} open, and open {settings.spike_borrowers} at most")
    for present in presents:
        if present not in able:
            outcome.left_out[present.name] = f"serves nobody before it has opened {LEAST}"
    return outcome
