"""Reading through: get, and set on a miss, as an application does around its database."""

from functools import partial

from khronos_fast.bench.cases import Fills, Slices, misses
from khronos_fast.bench.contender import Present, Role
from khronos_fast.bench.keys import Zipf
from khronos_fast.bench.loops import read_through
from khronos_fast.bench.rounds import Case, Outcome, interleave
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.lookup import take_turns
from khronos_fast.bench.workloads.store import RoundKeys


def mixed_zipf(context: Context) -> Outcome:
    """Seeded requests by Zipf's law on a warm cache; each round brings new ones, the same for every contender."""
    settings = context.settings
    zipf = Zipf(settings.zipf_keys)
    keys = RoundKeys(lambda round_index: zipf.requests(round_index, settings.zipf_requests))

    def make(present: Present) -> Case:
        cache = present.new(settings.entries)
        misses(present, cache, keys(), store=True)
        return Slices(
            present,
            cache,
            read_through(present.calls),
            keys,
            sample_ns=settings.sample_ns,
            least=min(settings.least_slice, settings.zipf_requests),
        )

    outcome = interleave(
        {present.name: partial(make, present) for present in context.with_role(Role.SPEED)},
        begin_round=keys.begin,
        rounds=settings.rounds,
        tick=context.tick,
    )
    outcome.notes.append("dict evicts nothing: it only hits, but its entries grow in number and so get colder")
    return outcome


def replay(context: Context) -> Outcome:
    """A request log from its first line to its last, on a cache that starts empty."""
    log = context.log().first(context.settings.log_requests)
    capacity = max(1, log.distinct // 10)

    def make(present: Present) -> Case:
        build = partial(present.new, capacity)
        return Fills(present, build, read_through(present.calls), lambda: log.keys, context.settings.sample_ns)

    outcome = take_turns(context, context.with_role(Role.SPEED), make, log.keys)
    outcome.notes.append(f"{log.describe()}; a cache of {capacity:,}")
    outcome.notes.append("dict evicts nothing: it misses each key once")
    return outcome
