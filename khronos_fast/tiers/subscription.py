"""One connection over which a server tells of changes, and what has come over it.

Questions for a sign of life are sent without waiting for the answers to those before. Everything that a server sends
over a connection comes in the order in which it happened there; so an answer says that what had been said before the
question reached the server has been heard, and which namespaces had been asked for by then. With tracking, Redis tells
of changes a moment later, at the end of the turn in which it answers both who has made them and the question. So it may
tell of a change after the answer; but nobody has been told that the change was made before the answer had left.

As a question serves what says most: on a single server PING, where Sentinels decide ROLE, on a cluster CLUSTER SLOTS.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from khronos_fast.tiers.coherence import channel_of, now
from khronos_fast.tiers.connections import run
from khronos_fast.tiers.conversation import CLUSTER_SLOTS
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.link import open_channel
from khronos_fast.tiers.wire import PING, ROLE, pack, read_topology, rubbish

if TYPE_CHECKING:
    from khronos_fast.tiers.address import Address
    from khronos_fast.tiers.coherence import Mode
    from khronos_fast.tiers.command import Node
    from khronos_fast.tiers.wire import Topology

MOST_AT_ONCE = 500
"""Messages that are read before they are acted on."""
CLIENT_NAME = "khronos_fast-coherence"


class Refused(RedisUnavailable):
    """The server does not tell of changes, whatever the reason."""


class Push(NamedTuple):
    """What a server sends without being asked."""

    parts: list[Any]


class _Question(NamedTuple):
    sent: float
    prefixes: frozenset[bytes]


class Subscription:
    """A connection to one server. Raises RedisUnavailable, or OSError, where it is lost; then it is to be closed.

    Args:
        address: how to reach the server, and what kind it is.
        node: which one it is.
        mode: how it is to tell of changes.
        database: the number of the database.
        seconds: for connecting.
    """

    def __init__(self, address: Address, node: Node, mode: Mode, database: int, seconds: float) -> None:
        self.node = node
        self.proof = 0.0
        """When the newest question had been sent that was answered."""
        self.lag: float | None = None
        self.confirmed: frozenset[bytes] = frozenset()
        """What the namespaces' keys begin with, whose changes it tells of."""
        self.topology: Topology | None = None
        """On a cluster, who serves what, as it says."""
        self.more = False
        """Whether there is something to be read that is not to be waited for."""
        self._address = address
        self._mode = mode
        self._database = database
        self._asked: frozenset[bytes] = frozenset()
        self._questions: deque[_Question] = deque()
        self._seconds = seconds
        self._channel = open_channel(address, node, time.monotonic() + seconds, CLIENT_NAME)
        self.socket = self._channel.socket
        # A cluster may be known by one server's address only.
        if self._channel.greeting.get(b"mode") == b"cluster":
            address.kind = "cluster"
        self._channel.hear(Push)

    def cover(self, prefixes: set[bytes]) -> bool:
        """Have it tell of changes in these namespaces. Whether there was anything to do."""
        new = prefixes - self._asked
        old = self._asked - prefixes
        if self._mode == "pubsub":
            for command, changed in ((b"SUBSCRIBE", new), (b"UNSUBSCRIBE", old)):
                if changed:
                    # An answer that comes from now on is to say that it is so again.
                    self.confirmed -= old
                    self._send(pack((command, *(channel_of(self._database, each) for each in changed))))
        elif new:
            # Namespaces can be added to only: what is not wanted any more goes on, unless it is in the way.
            if any(one.startswith(other) or other.startswith(one) for one in new for other in old):
                raise RedisUnavailable(f"{self.node} is connected to anew, for other namespaces")
            options = [part for each in new for part in (b"PREFIX", each)]
            self._send(pack((b"CLIENT", b"TRACKING", b"ON", b"BCAST", *options)))
        self._asked = frozenset(prefixes if self._mode == "pubsub" else self._asked | prefixes)
        return bool(new)

    def ask(self) -> None:
        """Ask for a sign of life."""
        data = CLUSTER_SLOTS if self._address.clustered else ROLE if self._address.sentinels else pack(PING.args)
        self._questions.append(_Question(now(), self._asked))
        self._send(data)

    @property
    def newest_question(self) -> float:
        """When it was sent; 0 before the first."""
        return self._questions[-1].sent if self._questions else self.proof

    @property
    def oldest_unanswered(self) -> float | None:
        """When it was sent."""
        return self._questions[0].sent if self._questions else None

    def read(self) -> list[Push]:
        """Return what has come, but not endlessly: there may be `more`. Waits for nothing."""
        found: list[Push] = []
        self.more = True
        while len(found) < MOST_AT_ONCE:
            try:
                reply = self._channel.receive_now()
            except RedisTimeout:
                self.more = False
                break
            except ResponseError as error:
                raise Refused(f"{self.node} answers: {error}") from error
            except (RedisError, OSError):
                raise
            except Exception as error:
                raise rubbish(error) from error
            if isinstance(reply, Push):
                found.append(reply)
            elif reply not in (None, b"OK"):
                self._answered(reply)
        return found

    def _answered(self, reply: Any) -> None:
        if not self._questions:
            raise RedisUnavailable(f"{self.node} answers what it was not asked")
        question = self._questions.popleft()
        if self._address.clustered:
            self.topology = read_topology(reply, self.node, self._address.remap)
        elif self._address.sentinels:
            if not isinstance(reply, list) or reply[:1] != [b"master"]:
                raise RedisUnavailable(f"{self.node} is not the primary any more")
        elif reply != b"PONG":
            raise RedisUnavailable(f"{self.node} does not answer a PING with PONG")
        self.proof = question.sent
        self.lag = now() - question.sent
        self.confirmed = question.prefixes & self._asked

    def _send(self, data: bytes) -> None:
        run(self._channel.send(data, time.monotonic() + self._seconds))

    def close(self) -> None:
        """Close it at once."""
        self._channel.close()
