"""The plans that write and delete, any number of keys.

What Redis could not be told for certain is remembered as still to be deleted: a write that has failed may have happened
or not, and what is there now may be older than what memory has.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from khronos_fast.tiers import commands
from khronos_fast.tiers.announcements import change
from khronos_fast.tiers.coherence import DEAF_TTL
from khronos_fast.tiers.errors import Exhausted, NotAsked, RedisUnavailable
from khronos_fast.tiers.payload import mark_of, unpack
from khronos_fast.tiers.rules import Known, Rules, now
from khronos_fast.tiers.steps import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 500
"""Keys in one round trip, so that others get their turn in between."""


def batches(keys: list[str]) -> Iterator[list[str]]:
    """Return the keys, so many at a time."""
    rest = iter(keys)
    while batch := list(islice(rest, BATCH)):
        yield batch


def write(rules: Rules, values: dict[str, Any], ttl: float | None, memory_ttl: float | None) -> Plan[None]:
    """Have all tiers hold these values."""
    full_keys = {key: rules.full_key(key) for key in values}
    raws = {} if rules.tier is None else {key: rules.encode(value) for key, value in values.items()}
    for keys in batches(list(values)):
        yield from _write(
            rules,
            {key: values[key] for key in keys},
            {full_keys[key]: raws[key] for key in keys if raws},
            ttl,
            memory_ttl,
        )


def _write(
    rules: Rules, values: dict[str, Any], raws: dict[bytes, bytes], ttl: float | None, memory_ttl: float | None
) -> Plan[None]:
    since = now()
    flights = {key: rules.begin(key, writes=True) for key in values}
    written: bool | None = None
    for full_key, raw in raws.items():
        rules.begin_tokens(full_key)
        rules.note_token(full_key, mark_of(raw))
    try:
        written = bool(raws) and (yield from _write_to_redis(rules, raws, rules.life_ms(ttl)))
    finally:
        fresh = math.inf if ttl is None else ttl
        # Where Redis tells of this very change, too, memory could not keep it; and what it does not have, not for long.
        life = math.inf if not rules.tracks else 0.0 if written else DEAF_TTL
        with ExitStack() as stack:  # each, whatever a weigher raises for another; what comes first is done last
            for full_key in raws:
                stack.callback(rules.end_tokens, full_key)
            for (key, value), raw in zip(values.items(), raws.values() or repeat(b""), strict=False):
                known = Known(value, since, fresh, memory_life=life, mark=mark_of(raw))
                stack.callback(_end, rules, key, flights[key], None if written is None else known, memory_ttl)


def _end(rules: Rules, key: str, flights: list[Any], known: Known | None, memory_ttl: float | None) -> None:
    rules.drop_elsewhere(key)
    kept = kept_last = False
    try:
        kept, kept_last = rules.end(flights, known, memory_ttl)
    finally:
        if kept_last and rules.tracks and known is not None and not known.memory_life:
            rules.drop_read(key)  # Redis tells who comes last
        elif not kept:
            # Another one writes or deletes it at the same time, and who comes last in Redis nobody knows.
            rules.drop(key)


def _write_to_redis(rules: Rules, raws: dict[bytes, bytes], life_ms: int | None) -> Plan[bool]:
    """Whether it has answered."""
    assert rules.tier is not None
    tickets = [(key, rules.tier.covers(key)) for key in raws]
    replies: list[Any] | None = None
    keys = {key[len(rules.prefix) :].decode("utf-8", "surrogatepass"): key for key in raws}
    in_doubt = True  # it may still be under way, and come after what is written later
    try:
        replies = yield from change(rules, [commands.write(key, raw, life_ms) for key, raw in raws.items()], keys)
    except (NotAsked, Exhausted):
        in_doubt = False
    except RedisUnavailable:
        pass
    finally:
        if replies is None:
            rules.tier.remember(list(raws), rules.prefix, in_doubt=in_doubt)
    if replies is None:
        return False
    refused = [key for key, reply in zip(raws, replies, strict=True) if isinstance(reply, Exception)]
    if refused:
        rules.could_not_delete(refused)
    for key, ticket in tickets:
        if ticket is not None and key not in refused:
            rules.tier.deleted(key, ticket)
    return True


def delete(rules: Rules, keys: list[str]) -> Plan[int]:
    """Have no tier hold these keys. How many of them any had."""
    full_keys = {key: rules.full_key(key) for key in keys}
    count = 0
    for batch in batches(list(full_keys)):
        count += yield from _delete(rules, {key: full_keys[key] for key in batch})
    return count


def _delete(rules: Rules, full_keys: dict[str, bytes]) -> Plan[int]:
    found = {key for key in full_keys if rules.drop(key)}
    if rules.tier is None:
        return len(found)
    replies: list[Any] | None = None
    try:
        deletions = [command for key in full_keys.values() for command in commands.delete(key)]
        replies = yield from change(rules, deletions, full_keys)
    except RedisUnavailable:
        pass
    finally:
        if replies is None:
            rules.could_not_delete(list(full_keys.values()))
        # Once more: meanwhile somebody may have read what was still there.
        for key in full_keys:
            rules.drop(key)
    if replies is not None:
        found |= _confirm(rules, full_keys, replies)
    return len(found)


def _confirm(rules: Rules, full_keys: dict[str, bytes], replies: list[Any]) -> set[str]:
    """Tell which keys had a value; what was not deleted is remembered."""
    found = set()
    for place, (key, full_key) in enumerate(full_keys.items()):
        beginning, unlinked = replies[2 * place : 2 * place + 2]
        if isinstance(unlinked, Exception):
            rules.could_not_delete([full_key])
        elif unlinked and not (isinstance(beginning, bytes) and unpack(beginning).is_token):
            found.add(key)
    return found
