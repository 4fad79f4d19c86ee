"""The plans that make up for what could not be done while Redis was away: first delete, then tell other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from khronos_fast._core.glob import Glob
from khronos_fast.tiers.announcements import tell
from khronos_fast.tiers.commands import unlink
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.pattern_deletion import delete_matching
from khronos_fast.tiers.steps import Ask, Plan
from khronos_fast.tiers.writes import BATCH

if TYPE_CHECKING:
    from khronos_fast.tiers.redis_tier import RedisTier


def delete_remembered(tier: RedisTier) -> Plan[None]:
    """Delete what could not be deleted before."""
    tier.end_doubts()
    # What is in doubt waits for the end of that; each of the others has one try.
    skipped: set[bytes] = set(tier.doubts)
    while batch := tier.deletions.batch(BATCH, skipped):
        replies = yield Ask([unlink(key) for key, _ in batch])
        for (key, ticket), reply in zip(batch, replies, strict=True):
            skipped.add(key)
            if not isinstance(reply, Exception):
                tier.remember_to_tell([key])
                tier.deleted(key, ticket)
    failed = None
    for pattern, ticket in tier.deletions.patterns():
        try:
            yield from delete_matching(pattern, clustered=tier.clustered)
        except RedisUnavailable as error:  # maybe of this one alone
            failed = error
        else:
            if namespaces := tier.told_namespaces(pattern):
                tier.untold.add_pattern(max(namespaces, key=len), pattern)
            tier.deletions.pattern_done(pattern, ticket)
    if failed is not None:
        raise failed


def tell_remembered(tier: RedisTier) -> Plan[None]:
    """Tell what could not be told before. Where one thing may not be told, the others are all the same."""
    failed: list[RedisUnavailable] = []
    seen: set[bytes] = set()
    while batch := tier.untold.batch(BATCH, seen):
        refused: set[bytes] = set()
        for prefix in tier.told_namespaces():
            mine = [key for key, _ in batch if key.startswith(prefix)]
            names = [key[len(prefix) :].decode("utf-8", "surrogatepass") for key in mine]
            if mine and not (yield from _try_to_tell(tier, prefix, names, mine[0], failed)):
                refused.update(mine)
        for key, ticket in batch:
            seen.add(key)
            if key not in refused:
                tier.untold.done(key, ticket)
    for pattern, ticket in tier.untold.patterns():
        told = True
        for prefix in tier.told_namespaces(pattern):
            rest = Glob(pattern[len(Glob.escape(prefix)) :])
            told = (yield from _try_to_tell(tier, prefix, rest, None, failed)) and told
        if told:
            tier.untold.pattern_done(pattern, ticket)
    if failed:
        raise failed[0]


def _try_to_tell(
    tier: RedisTier, prefix: bytes, change: list[str] | Glob[Any], key: bytes | None, failed: list[RedisUnavailable]
) -> Plan[bool]:
    try:
        yield from tell(tier, tier.news(prefix, change, key))
    except RedisUnavailable as error:
        failed.append(error)
        return False
    return True
