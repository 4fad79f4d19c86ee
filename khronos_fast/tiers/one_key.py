"""The plans for one key: to load it, and to read it.

A load that misses memory goes like this. It asks Redis for the value and, in the same round trip, leaves a token of its
own where there is none. It calls the loader. It fills Redis on condition that what it has seen there, its token mostly,
is still there: whoever writes or deletes the key meanwhile, in whatever process, takes it away, so what was loaded
before can't come after. What Redis refuses, memory does not keep either. With `lease`, who finds another's token waits
for that one's value; "Scaling Memcache at Facebook" (Nishtala et al., NSDI 2013) has both uses of such leases.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from khronos_fast.tiers import commands
from khronos_fast.tiers.errors import CodecError, RedisUnavailable
from khronos_fast.tiers.payload import DIGEST, NO_STRING, WHOLE, Fence, new_header, new_token, token_fence
from khronos_fast.tiers.rules import Known, Rules, now
from khronos_fast.tiers.steps import Load, Pause, Plan, RefreshLater, Request

if TYPE_CHECKING:
    from khronos_fast._core.loads import Loaded
    from khronos_fast.tiers.command import Command

SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
"""Seconds between two looks at the token of another process."""
MOST_LEADERS = 2
"""For how many of them one waits, each at most `lease` seconds; then it loads by itself."""


class Claim(NamedTuple):
    """What Redis has said to a load."""

    found: Known | None = None
    """A value that will do."""
    fence: Fence | None = None
    """What it is to find again when it fills; None: it does not fill."""
    behind: Known | None = None
    """A value that will do if the load fails."""
    leased: bool = False
    """Others wait for this load."""
    answered: bool = True


# ---------------------------------------------------------------------- loading


def load(rules: Rules, request: Request, forced: bool) -> Plan[Loaded]:
    """Have a value from Redis or from the loader, and fill what missed. `forced`: from the loader."""
    flight = rules.begin_last(request.key)
    known = None
    try:
        known = yield from _find_or_load(rules, request, forced)
    finally:
        rules.end_last(flight, known)
    return rules.loaded(known, request.memory_ttl)


def _find_or_load(rules: Rules, request: Request, forced: bool) -> Plan[Known]:
    claim = NOT_ASKED
    if rules.tier is not None:
        claim = yield from _claim(rules, rules.full_key(request.key), forced)
    if claim.found is not None:
        rules.counters.add("redis_hits")
        if rules.is_early(claim.found) and (yield RefreshLater(request)):
            rules.counters.add("early_refreshes")
        return claim.found
    last = None if claim.answered or forced else rules.last_of(request.key)
    if last is not None:
        rules.counters.add("stale_served")
        if last.is_over():
            yield RefreshLater(request)
        return Known(last.value, now(), kept=False)
    if not forced:
        rules.counters.add("misses")
    return (yield from _load_and_fill(rules, request, claim, forced))


NOT_ASKED = Claim()
OUT_OF_REACH = Claim(answered=False)


def _claim(rules: Rules, key: bytes, forced: bool) -> Plan[Claim]:
    """Find the value, or the right to fill."""
    try:
        return (yield from _look(rules, key, forced))
    except RedisUnavailable:
        return OUT_OF_REACH


def _look(rules: Rules, key: bytes, forced: bool) -> Plan[Claim]:
    lease = None if forced else rules.settings.lease
    leader, leaders, deadline = b"", 0, 0.0
    pause = SHORTEST_PAUSE
    while True:
        token = new_token()
        since = now()
        raw, pttl = yield from rules.ask(key, commands.claim(key, token))
        if isinstance(raw, Exception):
            return (yield from _cope(rules, key, raw, forced))
        if raw is None or raw == token:  # (the latter where it had to be sent twice)
            return Claim(fence=token_fence(token), leased=lease is not None)
        entry, known = rules.decode(raw, pttl, since)
        if known is not None and known.fresh > 0 and not forced:
            return Claim(found=known)
        if forced and known is not None and entry.fence.mode in (WHOLE, DIGEST):
            # The same bytes may be written again meanwhile, after others.
            header, fence = new_header()
            if (yield from _send(rules, key, commands.mark(key, entry.fence, header))):
                return Claim(fence=fence, behind=known)
            continue
        if lease is None or (known is None and not entry.is_token):
            return Claim(fence=entry.fence, behind=known)
        if not entry.is_token:
            # Stale, and nobody is loading it yet.
            if (yield from _send(rules, key, commands.take_over(key, entry.fence, token, from_token=False))):
                return Claim(fence=token_fence(token), behind=known, leased=True)
            continue
        if leader != entry.fence.mark:
            leader, leaders, deadline = entry.fence.mark, leaders + 1, since + lease
            rules.counters.add("lease_waits")
        if since >= deadline or leaders > MOST_LEADERS:
            if leaders >= MOST_LEADERS:
                return Claim(fence=entry.fence, behind=known)
            if (yield from _send(rules, key, commands.take_over(key, entry.fence, token, from_token=True))):
                return Claim(fence=token_fence(token), behind=known, leased=True)
            continue
        yield Pause(min(pause, max(deadline - since, SHORTEST_PAUSE)))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _cope(rules: Rules, key: bytes, error: Exception, forced: bool) -> Plan[Claim]:
    """Redis has not taken the claim: there is no string there, or it is full, or this user may not write."""
    if str(error).startswith("WRONGTYPE"):
        rules.counters.add("undecodable")
        return Claim(fence=NO_STRING.fence)
    since = now()
    raw, pttl = yield from rules.ask(key, commands.read(key))
    if not isinstance(raw, bytes) or forced:
        return NOT_ASKED
    entry, known = rules.decode(raw, pttl, since)
    if known is not None and known.fresh > 0:
        return Claim(found=known)
    return Claim(fence=entry.fence, behind=known)


def _send(rules: Rules, key: bytes, script: Command) -> Plan[bool]:
    """Whether the key still held what it was to hold, and so holds something else now."""
    [taken] = yield from rules.ask(key, [script])
    return bool(taken == commands.TAKEN)


def _load_and_fill(rules: Rules, request: Request, claim: Claim, forced: bool) -> Plan[Known]:
    started = now()
    try:
        value = yield Load(request.loader)
    except GeneratorExit:
        raise
    except BaseException as error:
        # Also where it was interrupted: others may be waiting for it.
        _count_load(rules, started, failed=True)
        yield from _let_go(rules, request.key, claim)
        stale = None if forced or not isinstance(error, Exception) else _last_value(rules, request.key, claim)
        if stale is None:
            raise
        rules.counters.add("stale_served")
        return stale
    _count_load(rules, started)
    since = now()
    known = Known(value, since, float("inf") if request.ttl is None else request.ttl, since - started)
    if rules.tier is None:
        return known
    return (yield from _fill(rules, request, claim, known, forced))


def _last_value(rules: Rules, key: str, claim: Claim) -> Known | None:
    if rules.settings.stale_ttl is None:
        return None
    if claim.behind is not None:
        return claim.behind._replace(kept=False)
    last = rules.last_of(key)
    return None if last is None else Known(last.value, now(), kept=False)


def _fill(rules: Rules, request: Request, claim: Claim, known: Known, forced: bool) -> Plan[Known]:
    """Have Redis hold what was loaded, if it still may; and tell whether memory may."""
    key = rules.full_key(request.key)
    filled: Any = None
    if claim.fence is not None:
        try:
            raw = rules.encode(known.value, known.delta)
            [filled] = yield from rules.ask(key, [commands.fill(key, claim.fence, raw, rules.life_ms(request.ttl))])
        except CodecError as error:
            rules.warn_unstorable(error)
            yield from _let_go(rules, request.key, claim)
        except RedisUnavailable:
            pass
    if filled == commands.REFUSED:
        rules.counters.add("fenced_out")
        if forced:
            rules.drop(request.key)  # what memory has is older than what overtook this
        return known._replace(kept=False)
    if forced and filled != commands.TAKEN:
        rules.could_not_delete([key])  # what this was to replace is not to come back
    return known


def _count_load(rules: Rules, started: float, *, failed: bool = False) -> None:
    rules.counters.add("loads")
    rules.counters.add("load_failures", failed)
    rules.counters.add("load_seconds", now() - started)


def _let_go(rules: Rules, key: str, claim: Claim) -> Plan[None]:
    """Nobody needs to wait for this load any more."""
    if claim.leased and claim.fence is not None:
        full_key = rules.full_key(key)
        # Where Redis does not answer, they wait for as long as they would have.
        with contextlib.suppress(RedisUnavailable):
            yield from rules.ask(full_key, [commands.let_go(full_key, claim.fence)])


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
    return accept(rules, raw, pttl, since)


def serve_last(rules: Rules, key: str) -> Known | None:
    """Redis can't answer: answer with the last value, if there is one."""
    last = rules.last_of(key)
    if last is None:
        rules.counters.add("misses")
        return None
    rules.counters.add("stale_served")
    return Known(last.value, now(), kept=False)


def accept(rules: Rules, raw: Any, pttl: Any, since: float) -> Known | None:
    """Make of a reply the value of a key, or count a miss."""
    known = None
    if isinstance(raw, bytes):
        known = rules.decode(raw, pttl, since)[1]
    elif isinstance(raw, Exception):
        rules.counters.add("undecodable")
    if known is None or known.fresh <= 0:
        rules.counters.add("misses")
        return None
    rules.counters.add("redis_hits")
    return known
