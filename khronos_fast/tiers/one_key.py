"""The plans for one key: to load it, and to read it.

A load that misses memory goes like this. It asks Redis for the value and, in the same round trip, leaves a token of its
own where there is none. It calls the loader. It fills Redis on condition that what it has seen there, its token mostly,
is still there: whoever writes or deletes the key meanwhile, in whatever process, takes it away, so what was loaded
before can't come after. What Redis refuses, memory does not keep either. With `lease`, who finds another's token waits
for that one's value; "Scaling Memcache at Facebook" (Nishtala et al., NSDI 2013) has both uses of such leases.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

from khronos_fast.tiers import commands
from khronos_fast.tiers.announcements import change
from khronos_fast.tiers.claims import NOT_ASKED, Claim, claim
from khronos_fast.tiers.coherence import DEAF_TTL
from khronos_fast.tiers.errors import CodecError, RedisUnavailable
from khronos_fast.tiers.payload import mark_of
from khronos_fast.tiers.rules import Known, Rules, now
from khronos_fast.tiers.steps import Ask, Failed, Later, Load, Outcome, Plan, Request

if TYPE_CHECKING:
    from khronos_fast._core.loads import Loaded

# ---------------------------------------------------------------------- loading


def load(rules: Rules, request: Request, forced: bool, later: list[Later]) -> Plan[Loaded | Failed]:
    """Have a value from Redis or from the loader, and fill what missed. `forced`: from the loader.

    What is to be loaded in the background is added to `later`: for when this has landed, which it would overtake.
    """
    flight = rules.begin_last(request.key, writes=forced)
    known: Known | None = None
    full_key = rules.full_key(request.key)
    rules.begin_tokens(full_key)
    try:
        found = yield from _find_or_load(rules, request, forced, later)
        if isinstance(found, Known):
            known = found
    finally:
        rules.end_last(flight, known)
        rules.end_tokens(full_key)
    return rules.loaded(found, request.memory_ttl) if isinstance(found, Known) else found


def _find_or_load(rules: Rules, request: Request, forced: bool, later: list[Later]) -> Plan[Known | Failed]:
    mine = NOT_ASKED
    if rules.tier is not None:
        mine = yield from claim(rules, rules.full_key(request.key), forced)
    if mine.found is not None:
        rules.counters.add("redis_hits")
        if rules.is_early(mine.found):
            later.append(Later(request, is_early=True))
        return mine.found
    last = None if mine.answered or forced else rules.last_of(request.key)
    if last is not None:
        rules.counters.add("stale_served")
        if last.is_over():
            later.append(Later(request, is_early=False))
        return Known(last.value, now(), kept=False)
    if not forced:
        rules.counters.add("misses")
    return (yield from _load_and_fill(rules, request, mine, forced))


def _load_and_fill(rules: Rules, request: Request, mine: Claim, forced: bool) -> Plan[Known | Failed]:
    started = now()
    outcome: Outcome = yield Load(request.loader)
    _count_load(rules, started, failed=outcome.error is not None)
    if outcome.error is not None:
        # Also where it was interrupted: others may be waiting for it.
        yield from _let_go(rules, request.key, mine)
        stale = None
        if isinstance(outcome.error, Exception) and not forced:
            stale = _last_value(rules, request.key, mine)
        if stale is None:
            return Failed(outcome.error)
        rules.counters.add("stale_served")
        return stale
    since = now()
    fresh = float("inf") if request.ttl is None else request.ttl
    # What Redis does not have, it can't tell the end of.
    life = DEAF_TTL if rules.tracks else math.inf
    known = Known(outcome.value, since, fresh, since - started, memory_life=life)
    if rules.tier is None:
        return known
    return (yield from _fill(rules, request, mine, known, forced))


def _last_value(rules: Rules, key: str, mine: Claim) -> Known | None:
    if rules.settings.stale_ttl is None:
        return None
    # What this process knows is never older than what Redis has, as its own writes go to both and others' are heard of;
    # unless they are not.
    last = rules.last_of(key)
    if last is not None and (rules.is_in_step or mine.behind is None):
        return Known(last.value, now(), kept=False)
    return None if mine.behind is None else mine.behind._replace(kept=False)


def _fill(rules: Rules, request: Request, mine: Claim, known: Known, forced: bool) -> Plan[Known]:
    """Have Redis hold what was loaded, if it still may; and tell whether memory may."""
    key = rules.full_key(request.key)
    filled: Any = None
    raw = b""
    if mine.fence is not None:
        try:
            raw = rules.encode(known.value, known.delta)
            # It has its fence, so nothing that is to be deleted has to go before it.
            rules.note_token(key, mark_of(raw))
            fill = commands.fill(key, mine.fence, raw, rules.life_ms(request.ttl))
            if forced:
                [filled] = yield from change(rules, [fill], {request.key: key})
            else:
                [filled] = yield Ask([fill])
        except CodecError as error:
            rules.warn_unstorable(error)
            rules.note_unstorable(key)
            yield from _let_go(rules, request.key, mine)
        except RedisUnavailable:
            pass
        except BaseException as error:
            if forced:
                rules.drop(request.key)  # it may have been replaced, and nobody told
                rules.could_not_delete([key])
            if not isinstance(error, GeneratorExit):
                yield from _let_go(rules, request.key, mine)
            raise
    if forced:
        rules.drop_elsewhere(request.key)
    if filled == commands.REFUSED:
        rules.counters.add("fenced_out")
        if forced:
            rules.drop(request.key)  # what memory has is older than what overtook this
        return known._replace(kept=False)
    if forced and filled != commands.TAKEN:
        rules.could_not_delete([key])  # what this was to replace is not to come back
    if rules.tracks and filled == commands.TAKEN:
        # Redis tells of this very change, too, so memory could not keep it.
        rules.drop_read(request.key)
        return known._replace(memory_life=0.0, mark=mark_of(raw))
    return known


def _count_load(rules: Rules, started: float, *, failed: bool = False) -> None:
    rules.counters.add("loads")
    rules.counters.add("load_failures", failed)
    rules.counters.add("load_seconds", now() - started)


def _let_go(rules: Rules, key: str, mine: Claim) -> Plan[None]:
    """Nobody needs to wait for this load any more, and what it has marked is as it was."""
    if mine.undo is not None and mine.fence is not None:
        # Where Redis does not answer, they wait for as long as they would have.
        with contextlib.suppress(RedisUnavailable):
            yield Ask([commands.let_go(rules.full_key(key), mine.fence, *mine.undo)])


# ---------------------------------------------------------------------- reading


def read(rules: Rules, key: str, memory_ttl: float | None) -> Plan[Known | None]:
    """Have a value from Redis, and fill memory."""
    if rules.tier is None:
        rules.counters.add("misses")
        return None
    full_key = rules.full_key(key)
    flights = rules.begin(key)
    known = None
    try:
        known = yield from _read(rules, key, full_key)
    finally:
        rules.end(flights, known, memory_ttl)
    return known


def _read(rules: Rules, key: str, full_key: bytes) -> Plan[Known | None]:
    since = now()
    try:
        raw, pttl = yield from rules.ask(full_key, commands.read(full_key))
    except RedisUnavailable:
        return serve_last(rules, key)
    return accept(rules, full_key, raw, pttl, since)


def serve_last(rules: Rules, key: str) -> Known | None:
    """Redis can't answer: answer with the last value, if there is one."""
    last = rules.last_of(key)
    if last is None:
        rules.counters.add("misses")
        return None
    rules.counters.add("stale_served")
    return Known(last.value, now(), kept=False)


def accept(rules: Rules, full_key: bytes, raw: Any, pttl: Any, since: float) -> Known | None:
    """Make of a reply the value of a key, or count a miss."""
    known = None
    if isinstance(pttl, Exception):
        pass  # without knowing for how long, there is no using it
    elif isinstance(raw, bytes):
        known = rules.decode(full_key, raw, pttl, since)[1]
    elif isinstance(raw, Exception):
        rules.counters.add("undecodable")
    if known is None or known.fresh <= 0:
        rules.counters.add("misses")
        return None
    rules.counters.add("redis_hits")
    return known
