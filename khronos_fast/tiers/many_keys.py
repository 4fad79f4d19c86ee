"""The plan that reads many keys: one round trip for all that memory misses (on a cluster: to each primary)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from khronos_fast.tiers import commands
from khronos_fast.tiers.announcements import change
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.one_key import accept, serve_last
from khronos_fast.tiers.rules import Known, Rules, now
from khronos_fast.tiers.steps import Plan
from khronos_fast.tiers.writes import batches


def read_many(rules: Rules, keys: list[str], memory_ttl: float | None) -> Plan[dict[str, Any]]:
    """Have the values of those keys that have one."""
    if set(map(type, keys)) - {str}:
        for key in keys:
            rules.full_key(key)  # which says what is wrong
    found = rules.memory.get_many(keys)
    missed = list(dict.fromkeys(key for key in keys if key not in found))
    if not missed:
        return found
    full_keys = {key: rules.full_key(key) for key in missed}
    if rules.tier is None:
        rules.counters.add("misses", len(missed))
        return found
    for batch in batches(missed):
        found |= yield from _read_batch(rules, {key: full_keys[key] for key in batch}, memory_ttl)
    return {key: found[key] for key in keys if key in found}


def _read_batch(rules: Rules, full_keys: dict[str, bytes], memory_ttl: float | None) -> Plan[dict[str, Any]]:
    flights = {key: rules.begin(key) for key in full_keys}
    known: dict[str, Known | None] = {}
    try:
        known = yield from _ask_for(rules, full_keys)
    finally:
        with ExitStack() as stack:  # each, whatever a weigher raises for another
            for key, flight in flights.items():
                stack.callback(rules.end, flight, known.get(key), memory_ttl)
    return {key: each.value for key, each in known.items() if each is not None}


def _ask_for(rules: Rules, full_keys: dict[str, bytes]) -> Plan[dict[str, Known | None]]:
    assert rules.tier is not None
    wanted = list(full_keys.values())
    tickets = [(key, rules.tier.covers(key)) for key in wanted]
    first = [(key, ticket) for key, ticket in tickets if ticket is not None]
    late = dict(first)
    deleted = {name: key for name, key in full_keys.items() if key in late} if late else {}
    at_once = not rules.tier.clustered
    since = now()
    try:
        asked = [commands.unlink(key) for key, _ in first] + commands.read_many(wanted, at_once=at_once)
        replies = yield from change(rules, asked, deleted)
        for (key, ticket), reply in zip(first, replies, strict=False):
            if isinstance(reply, Exception):
                raise RedisUnavailable(f"Redis does not delete: {reply}")
            rules.tier.deleted(key, ticket)
        replies = replies[len(first) :]
        values = replies[: -len(wanted)]
        if at_once:
            # MGET takes what is no string for nothing; and Redis may refuse all of it.
            values = values[0] if isinstance(values[0], list) else values * len(wanted)
        if len(values) != len(wanted):
            raise RedisUnavailable("Redis has answered MGET with another number of values")
    except RedisUnavailable:
        return {key: serve_last(rules, key) for key in full_keys}
    times = replies[-len(wanted) :]
    return {
        key: accept(rules, full_key, raw, pttl, since)
        for (key, full_key), raw, pttl in zip(full_keys.items(), values, times, strict=True)
    }
