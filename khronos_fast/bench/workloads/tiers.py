"""Reading through caches in tiers: what is found in memory or in Redis, what has to be loaded, many keys at once.

Nothing is taken for granted: when hits are timed, loading raises; and whoever is measured on Redis must have asked it.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from khronos_fast.bench.cases import Passes, Slices
from khronos_fast.bench.keys import fresh_keys, make_keys, shuffled
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.redis_server import Server, ServerError
from khronos_fast.bench.rounds import BeginRound, Case, Outcome, interleave, loop_cost
from khronos_fast.bench.tiering import VALUE, OpenTiered, PresentTiered, Tier, Tiered
from khronos_fast.bench.units import MICROSECONDS, NANOSECONDS, Unit
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.store import RoundKeys

UNIT_OF = {Tier.MEMORY: NANOSECONDS, Tier.REDIS: MICROSECONDS}
KEYS_AT_ONCE = 100
MANY = "keys"
NUMBER = "number"
FRESH_ON_REDIS = 2_000
LEAST_ON_REDIS = 20

NOTE_OF_COROUTINES = "cashews and aiocache have coroutines only: they are awaited, here too"
NOTE_OF_ROUND_TRIPS = (
    "most of a round trip is the system's: where it lets the server run changes it threefold, from run to run as well"
)


class NotAskedError(AssertionError):
    """Reads that should have gone to Redis did not, so the row would time something else."""


class InMicroseconds:
    """A case whose samples are nanoseconds, in the unit that suits what takes a round trip."""

    def __init__(self, case: Case) -> None:
        self._case = case

    def sample(self, loop_ns: float, /) -> float:
        """Microseconds an operation."""
        return self._case.sample(loop_ns) / 1_000

    def close(self) -> None:
        """Close the case."""
        self._case.close()


def hit(context: Context, tier: Tier, face: Face) -> Outcome:
    """Read keys that are there: in memory, or in Redis and not in memory."""
    count = _entries(context, tier)
    stored, asked = make_keys(count), shuffled(make_keys(count))

    def make(present: PresentTiered, opened: OpenTiered, server: Server | None) -> Case:
        tiered = present.contender
        opened.fill(opened.keys(stored))
        statement, keys = tiered.hit or tiered.read, opened.keys(asked)
        if server is not None:
            _check_that_it_asks(server, opened, statement, keys)
        return Passes(present, opened, statement, keys, _sample_ns(context, tier), make_loop=opened.make_loop)

    return _take_turns(context, tier, face, make, begin_round=lambda _round: loop_cost(asked))


def miss(context: Context, tier: Tier, face: Face) -> Outcome:
    """Read keys that are new each round: they are loaded, and stored in memory, with Redis there as well."""
    settings = context.settings
    in_memory = tier is Tier.MEMORY
    count, least = (settings.fresh_keys, settings.memo_entries) if in_memory else (FRESH_ON_REDIS, LEAST_ON_REDIS)
    keys = RoundKeys(lambda round_index: fresh_keys(round_index, count))

    def make(present: PresentTiered, opened: OpenTiered, _server: Server | None) -> Case:
        if in_memory:
            opened.fill(make_keys(settings.memo_entries))
        opened.misses()
        return Slices(
            present,
            opened,
            present.contender.read,
            lambda: opened.keys(keys()),
            sample_ns=_sample_ns(context, tier),
            least=min(least, count),
            make_loop=opened.make_loop,
        )

    outcome = _take_turns(
        context,
        tier,
        face,
        make,
        begin_round=keys.begin,
        able=lambda tiered: tiered.misses and not (in_memory and tiered.redis_behind),
        entries=settings.memo_entries,
    )
    outcome.notes.append("loading, which returns a constant, is part of every miss")
    if in_memory:
        outcome.notes.append("dogpile.cache and aiocache evict nothing: what they remember grows")
    return outcome


def many(context: Context, tier: Tier, face: Face) -> Outcome:
    """Read a hundred keys at once, all of which are there."""
    count = max(KEYS_AT_ONCE, _entries(context, tier))
    stored, asked = make_keys(count), _in_lists(shuffled(make_keys(count)))

    def make(present: PresentTiered, opened: OpenTiered, server: Server | None) -> Case:
        statement = present.contender.read_many
        assert statement is not None
        opened.fill(opened.keys(stored))
        lists = [opened.keys(keys) for keys in asked]
        if server is not None:
            _check_that_it_asks(server, opened, statement, lists, target=MANY, result="values")
        for answer in opened.answers(lists, statement, target=MANY, result="values"):
            opened.check(_values_in(answer), KEYS_AT_ONCE)
        sample_ns = _sample_ns(context, tier)
        return Passes(present, opened, statement, lists, sample_ns, target=MANY, make_loop=opened.make_loop)

    return _take_turns(
        context,
        tier,
        face,
        make,
        begin_round=lambda _round: loop_cost(asked, MANY),
        able=lambda tiered: tiered.read_many is not None,
        unit=MICROSECONDS,
        entries=count if tier is Tier.MEMORY else None,
    )


def decorated(context: Context, face: Face) -> Outcome:
    """Call a decorated function whose results are all in memory."""
    count = context.settings.memo_entries
    numbers = list(range(1_000, 1_000 + count))
    asked = shuffled(numbers)

    def make(present: PresentTiered, opened: OpenTiered, _server: Server | None) -> Case:
        with_results = dict.fromkeys(numbers, VALUE)
        # A result can be had only once, so that no hit is none.
        opened.decorate(with_results.pop)
        call = "value = await call(number)" if present.contender.face is Face.TASKS else "value = call(number)"
        opened.answers(numbers, call, target=NUMBER)
        opened.check(opened.answers(asked, call, target=NUMBER), count)
        sample_ns = context.settings.sample_ns
        return Passes(present, opened, call, asked, sample_ns, target=NUMBER, make_loop=opened.make_loop)

    outcome = _take_turns(
        context,
        Tier.MEMORY,
        face,
        make,
        begin_round=lambda _round: loop_cost(asked, NUMBER),
        able=lambda tiered: tiered.decorator is not None,
    )
    outcome.notes.append("the key is user:{number}:profile for all but dogpile.cache, which makes its own")
    return outcome


def _take_turns(
    context: Context,
    tier: Tier,
    face: Face,
    make: Callable[[PresentTiered, OpenTiered, Server | None], Case],
    *,
    begin_round: BeginRound,
    able: Callable[[Tiered], bool] = lambda _tiered: True,
    unit: Unit | None = None,
    entries: int | None = None,
) -> Outcome:
    """Open everyone's cache, have a case made of it, and measure; who can't take part is left out, with the reason."""
    everyone = [present for present in context.tiered(tier, face) if able(present.contender)]
    server = _server(context, tier, everyone)
    left_out = {present.name: present.unable(tier, server) for present in everyone}
    unit = unit or UNIT_OF[tier]
    if entries is None:
        # What is to be found in Redis must not be in memory: with room for one entry, it never is.
        entries = 1 if tier is Tier.REDIS else context.settings.memo_entries

    def setup(present: PresentTiered) -> Case:
        opened = present.open(tier, entries, server)
        with ExitStack() as on_failure:
            on_failure.callback(opened.close)
            asked = server if tier is Tier.REDIS and isinstance(server, Server) and present.contender.loads else None
            case = make(present, opened, asked)
            on_failure.pop_all()
        return InMicroseconds(case) if unit is MICROSECONDS else case

    outcome = interleave(
        {present.name: partial(setup, present) for present in everyone if left_out[present.name] is None},
        begin_round=begin_round,
        rounds=context.settings.rounds,
        tick=context.tick,
    )
    outcome.left_out |= {name: reason for name, reason in left_out.items() if reason is not None}
    if any(present.contender.face is not face for present in everyone):
        outcome.notes.append(NOTE_OF_COROUTINES)
    if tier is Tier.REDIS:
        outcome.notes.append(NOTE_OF_ROUND_TRIPS)
    return outcome


def _server(context: Context, tier: Tier, everyone: Sequence[PresentTiered]) -> Server | str:
    """The server, if someone needs one; where not everybody does, the reason why there is none will do as well."""
    if tier is Tier.REDIS:
        return context.server()
    if not any(present.needs_server(tier) for present in everyone):
        return "nobody needs a server"
    try:
        return context.server()
    except ServerError as error:
        return str(error)


def _check_that_it_asks(
    server: Server,
    opened: OpenTiered,
    statement: str,
    keys: Sequence[object],
    *,
    target: str = "key",
    result: str = "value",
) -> None:
    before = server.commands()
    opened.answers(keys, statement, target=target, result=result)
    asked = server.commands() - before - 1  # counting them is a command itself
    if asked < len(keys):
        raise NotAskedError(f"{len(keys):,} reads made it ask Redis {asked:,} times")


def _entries(context: Context, tier: Tier) -> int:
    return context.settings.memo_entries if tier is Tier.MEMORY else context.settings.redis_keys


def _sample_ns(context: Context, tier: Tier) -> int:
    return context.settings.sample_ns if tier is Tier.MEMORY else context.settings.redis_sample_ns


def _values_in(answer: Any) -> list[object]:
    """Some answer a call for many keys by a list or a tuple, some by a dict."""
    return list(answer.values() if isinstance(answer, dict) else answer)


def _in_lists(keys: Sequence[str]) -> list[list[str]]:
    whole = range(0, len(keys) - KEYS_AT_ONCE + 1, KEYS_AT_ONCE)
    return [list(keys[start : start + KEYS_AT_ONCE]) for start in whole]
