"""The plan that deletes by pattern, on every primary.

SCAN goes through all keys of a server, a thousand or so at a time, and sends those that match; these are deleted before
the next page is asked for, in one round trip with that. So the server is never held up, and memory is that of one page,
however many keys there are. The time is in proportion to all keys of the database, whoever owns them.
"""

from __future__ import annotations

from typing import Any

from khronos_fast._core.glob import Glob
from khronos_fast.tiers import commands
from khronos_fast.tiers.announcements import tell
from khronos_fast.tiers.command import Node
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.rules import Rules
from khronos_fast.tiers.steps import AskNode, Plan, Primaries

UNLINK_BATCH = 500


def invalidate(rules: Rules, pattern: Glob[Any]) -> Plan[int]:
    """Have no tier hold keys that match. How many went, from the tier that had more of them."""
    selects_all = set(pattern.pattern) <= set("*" if isinstance(pattern.pattern, str) else b"*") and pattern.pattern
    if selects_all and rules.tier is not None and not rules.prefix:
        raise ValueError(
            "with an empty namespace this would delete all keys in Redis, others' too; give the cache a namespace"
        )
    count = rules.drop_matching(pattern)
    if rules.tier is None:
        return count
    octets = pattern.pattern if isinstance(pattern.pattern, bytes) else pattern.pattern.encode("utf-8", "surrogatepass")
    full_pattern = Glob.escape(rules.prefix) + octets
    deleted = None
    told = False
    try:
        deleted = yield from delete_matching(full_pattern, clustered=rules.tier.clustered)
        yield from tell(rules.tier, rules.news(pattern, None))
        told = True
    except RedisUnavailable:
        pass
    finally:
        if deleted is None:
            rules.tier.deletions.add_pattern(rules.prefix, full_pattern)
        elif not told:
            rules.tier.untold.add_pattern(rules.prefix, full_pattern)
        rules.tier.look_after_rest()
        # Once more: meanwhile somebody may have read what was still there.
        rules.drop_matching(pattern)
    return max(count, deleted or 0)


def delete_matching(pattern: bytes, *, clustered: bool) -> Plan[int]:
    """Delete all keys that match, on every primary. How many there were. Raises RedisUnavailable."""
    nodes = yield Primaries()
    count = 0
    for node in nodes:
        count += yield from _sweep(node, pattern, clustered=clustered)
    return count


def _sweep(node: Node, pattern: bytes, *, clustered: bool) -> Plan[int]:
    count = 0
    cursor: bytes | None = b"0"
    found: list[bytes] = []
    while cursor is not None or found:
        # A cluster takes keys of different slots one by one only.
        size = 1 if clustered else UNLINK_BATCH
        unlinks = [commands.unlink(*found[i : i + size]) for i in range(0, len(found), size)]
        page = [] if cursor is None else [commands.scan(cursor, pattern)]
        replies: list[Any] = yield AskNode(node, unlinks + page)
        for reply in replies:
            if isinstance(reply, Exception):
                raise RedisUnavailable(f"{node} does not delete by pattern: {reply}")
        count += sum(replies[: len(unlinks)])
        found = []
        if page:
            cursor, found = _page(replies[-1], node)
            if cursor == b"0":
                cursor = None
    return count


def _page(reply: list[Any], node: Node) -> tuple[bytes, list[bytes]]:
    if len(reply) == 2 and isinstance(reply[0], bytes) and isinstance(reply[1], list):
        return reply[0], reply[1]
    raise RedisUnavailable(f"{node} has answered SCAN with something else")
