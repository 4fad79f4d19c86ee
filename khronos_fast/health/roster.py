"""`Roster`: which workers live, as they have written it in Redis.

One key a worker, with a time to live, written whole (SET … EX), so that nothing of a dead one stays behind; and a
sorted set as their index, by the time of Redis, so that nobody scans and no two clocks are compared. What is in the
index and has gone silent is taken out by whoever looks. A worker is its host, its slot and a random number of this
start: numbers of processes come back. All keys of a service have one hash tag, so a Redis Cluster has them on one node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from khronos_fast.health.cluster import from_document, to_document
from khronos_fast.tiers.command import Command
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.link import Link

if TYPE_CHECKING:
    from khronos_fast.tiers.address import Address

TTL = 15
"""Seconds after which one that has not been heard of is gone."""
TIMEOUT = 0.25
"""Seconds for a round trip, connecting included."""
MOST_WORKERS = 1000
"""That are shown."""


class Roster:
    """The workers of a service. Every call may raise RedisUnavailable.

    Args:
        address: of Redis.
        service: what the workers that belong together are called.
        boot: what the names of this process's keys end in.
    """

    def __init__(self, address: Address, service: str, boot: str) -> None:
        self._link = Link(address, TIMEOUT, max_connections=1)
        tag = "{khronos:health:" + service.replace("{", "(").replace("}", ")") + "}"
        self._index = tag.encode()
        self._own = f":{boot}".encode()
        self._told: bytes | None = None

    def tell(self, worker: dict[str, Any]) -> None:
        """Say that this worker lives, and how it is."""
        key = self._told = self._key(worker)
        moment = self._moment()
        self._ask(
            Command(key, (b"SET", key, to_document(worker, moment), b"EX", b"%d" % TTL)),
            Command(self._index, (b"ZADD", self._index, b"%.3f" % moment, key)),
            Command(self._index, (b"EXPIRE", self._index, b"%d" % (4 * TTL))),
        )

    def leave(self) -> None:
        """Take this worker out, if it was told of."""
        if self._told is not None:
            key = self._told
            self._ask(Command(key, (b"DEL", key)), Command(self._index, (b"ZREM", self._index, key)))

    def others(self) -> list[dict[str, Any]]:
        """Return all workers that live, but those of this process."""
        moment = self._moment()
        silent = b"%.3f" % (moment - TTL)
        _gone, keys = self._ask(
            Command(self._index, (b"ZREMRANGEBYSCORE", self._index, b"-inf", silent)),
            Command(
                self._index,
                (b"ZRANGEBYSCORE", self._index, b"-inf", b"+inf", b"LIMIT", b"0", b"%d" % MOST_WORKERS),
                list,
            ),
        )
        keys = [key for key in keys if not key.endswith(self._own)]
        if not keys:
            return []
        (documents,) = self._ask(Command(keys[0], (b"MGET", *keys), list))
        told = (from_document(document, moment) for document in documents if isinstance(document, bytes))
        return [worker for worker in told if worker is not None]

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _key(self, worker: dict[str, Any]) -> bytes:
        name: str = worker["id"]
        return self._index + b":" + name.encode()

    def _moment(self) -> float:
        """Return the time of Redis, in seconds."""
        ((seconds, micros),) = self._ask(Command(self._index, (b"TIME",), list))
        return int(seconds) + int(micros) / 1e6

    def _ask(self, *commands: Command) -> list[Any]:
        answers = self._link.ask(commands)
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, Exception) or not isinstance(answer, command.expects):
                raise RedisUnavailable(f"Redis at {self._link.address} does not keep a roster")
        return answers
