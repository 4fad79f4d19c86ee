"""What processes tell each other of their changes, with `coherence="pubsub"`.

One message for a pattern, or for up to 500 keys, on a channel for each database and namespace, as pub/sub knows of
neither. It is JSON, to be read by people too, and has no values in it: who hears it forgets. It follows the change on
the same connection, so that nobody who has heard it can read what was there before. The servers of a cluster may do the
commands of one round trip in another order (MOVED), so there it has one of its own, by the server of the first key.
What could not be told is remembered, and told later.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from khronos_fast._core.glob import Glob
from khronos_fast.tiers.command import Command
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.steps import Ask, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from khronos_fast.tiers.redis_tier import RedisTier
    from khronos_fast.tiers.rules import Rules

VERSION = 1


class Announcement(NamedTuple):
    """A change of another process's: of these keys, or of all that match."""

    origin: str
    number: int
    keys: tuple[str, ...] = ()
    pattern: Glob[Any] | None = None

    @property
    def is_trial(self) -> bool:
        """Whether it says nothing: somebody has tried whether it may publish."""
        return not self.keys and self.pattern is None


def encode(origin: str, number: int, change: Sequence[str] | Glob[Any]) -> bytes:
    """Write an announcement.

    >>> encode("c0ffee", 7, ["user:1", "user:2"])
    b'{"v":1,"from":"c0ffee","n":7,"keys":["user:1","user:2"]}'
    """
    if not isinstance(change, Glob):
        what: dict[str, Any] = {"keys": list(change)}
    elif isinstance(change.pattern, str):
        what = {"pattern": change.pattern}
    else:
        what = {"octets": change.pattern.hex()}
    return json.dumps({"v": VERSION, "from": origin, "n": number, **what}, separators=(",", ":")).encode()


def decode(message: Any) -> Announcement:
    """Read an announcement. Raises ValueError for what is none, or one of a later version.

    >>> decode(b'{"v":1,"from":"c0ffee","n":8,"pattern":"user:*"}').pattern
    Glob('user:*')
    """
    try:
        told = json.loads(message)
        if told["v"] != VERSION:
            raise ValueError(f"an announcement of version {told['v']!r}")
        origin, number = told["from"], told["n"]
        if type(origin) is not str or type(number) is not int:
            raise ValueError("nobody has said that")
        if "keys" in told:
            keys = told["keys"]
            if not isinstance(keys, list) or set(map(type, keys)) - {str}:
                raise ValueError("keys that are none")
            return Announcement(origin, number, tuple(keys))
        pattern = told["pattern"] if "pattern" in told else bytes.fromhex(told["octets"])
        return Announcement(origin, number, pattern=Glob(pattern))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no announcement of a change: {error!r}") from error


def publish(channel: bytes, message: bytes, key: bytes | None) -> Command:
    """Tell all who have subscribed; on a cluster, by the server of this key."""
    return Command(key, (b"PUBLISH", channel, message), int)


def change(rules: Rules, commands: list[Command], keys: dict[str, bytes]) -> Plan[list[Any]]:
    """Send commands that change these keys, and tell others of it: the replies to the commands."""
    assert rules.tier is not None
    news = rules.news(list(keys), next(iter(keys.values()))) if keys else []
    if not news:
        replies: list[Any] = yield Ask(commands)
        return replies
    at_once = not rules.tier.clustered
    replies = yield Ask(commands + news if at_once else commands)
    told = False
    try:
        if at_once:
            check_told(rules.tier, replies[len(commands) :])
        if not at_once or rules.tier.clustered:  # it has turned out to be a cluster just now
            check_told(rules.tier, (yield Ask(news)))
        told = True
    except RedisUnavailable:
        pass
    finally:
        if not told:
            rules.tier.remember_to_tell(list(keys.values()))
    return replies[: len(commands)]


def tell(tier: RedisTier, news: list[Command]) -> Plan[None]:
    """Tell others of what has been done. Raises RedisUnavailable."""
    if news:
        check_told(tier, (yield Ask(news)))


def check_told(tier: RedisTier, replies: list[Any]) -> None:
    """Count what was told. Raises RedisUnavailable for what Redis does not pass on."""
    failed = [reply for reply in replies if isinstance(reply, Exception)]
    tier.count_told(len(replies) - len(failed), len(failed))
    if failed:
        raise RedisUnavailable(f"Redis does not tell others of a change: {failed[0]}")
