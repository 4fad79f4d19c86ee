"""Entries that expire all the time.

Each operation sets a new key into a full cache, so each makes one entry go. Every third key gets a time to live so
short that it is over before the newer keys would have pushed the entry out: a third of the entries leaves by expiring,
the rest by eviction, and the work is the same however fast a contender is.

The clock is the real one, since most rivals take no other. Contenders with a single time to live for all entries are
left out: with a short one every entry would expire, with a long one none, and neither is this workload. cachetools
takes part with its `TLRUCache`, which has times to live per entry. Some rivals tidy up less often than that (theine
once a second); their expired entries then leave by eviction, which is their design and is measured as it is.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from khronos_fast.bench.cases import Slices
from khronos_fast.bench.contender import TTL, Present, Role
from khronos_fast.bench.keys import fresh_keys
from khronos_fast.bench.rounds import Case, Outcome, interleave
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.store import RoundKeys

SHORT_TTL = 0.002
EVERY = 3


def ttl_churn(context: Context) -> Outcome:
    """New keys into a full cache, every third of them short-lived."""
    settings = context.settings
    keys = RoundKeys(lambda round_index: fresh_keys(round_index, settings.churn_entries))
    everyone = [*context.with_role(Role.SPEED), *context.with_role(Role.CHURN)]
    able = [present for present in everyone if present.calls.set_for is not None]

    def make(present: Present) -> Case:
        build = present.contender.build_for_churn or present.contender.build
        cache = build(present.package, settings.churn_entries)
        short, long = present.contender.duration(SHORT_TTL), present.contender.duration(TTL)

        def with_lifetimes() -> Sequence[tuple[str, Any]]:
            return [(key, long if place % EVERY else short) for place, key in enumerate(keys())]

        return Slices(
            present,
            cache,
            present.calls.set_for or "",
            with_lifetimes,
            sample_ns=settings.sample_ns,
            least=settings.churn_entries,
            target="key, ttl",
        )

    outcome = interleave(
        {present.name: partial(make, present) for present in able},
        begin_round=keys.begin,
        rounds=settings.rounds,
        tick=context.tick,
    )
    for present in everyone:
        if present not in able:
            outcome.left_out[present.name] = "runs without a time to live per entry"
    return outcome
