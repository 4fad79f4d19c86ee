"""What memory is worth while other processes change what it holds: until when it is relied on, and what it forgets.

A process knows of the changes of others as long as it hears them. It hears them over connections of its own, one to
each server that holds keys, and asks for a sign of life on each, four times a second. An answer proves that whatever
was said there before has arrived, so memory was right when the question was sent; it is relied on for a second from
then on. That is a deadline in the compiled core, which every look-up compares with the time. When it passes, look-ups
go on to Redis, and what is in memory waits: an answer that is only late puts everything right again. When a connection
is lost, or silent for two seconds, what was said meanwhile is lost too. So memory is emptied, and until all connections
are there again an entry lives for a second at most. Then memory is emptied once more, what is under way is not kept,
and from then on it is relied on.

Nothing here does I/O; the thread that listens calls it.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from khronos_fast._core.glob import Glob
from khronos_fast._core.trust import forget, trust
from khronos_fast.tiers.announcements import decode, encode, publish
from khronos_fast.tiers.stats import CoherenceStats, Counters

if TYPE_CHECKING:
    from khronos_fast.tiers.command import Command
    from khronos_fast.tiers.rules import Rules

BEAT = 0.25
"""Seconds from one question to the next."""
TRUST = 1.0
"""Seconds for which memory is relied on, from when the newest question that was answered had been sent."""
SILENCE = 2.0
"""Seconds without an answer, after which a connection counts as lost."""
DEAF_TTL = 1.0
"""Seconds that an entry lives in memory at most, while others can't be heard."""
TURN = 0.001
"""Seconds after which others may run, where there is much to forget."""
FAREWELL = 1.0
"""Seconds that closing waits for the thread that listens."""
MOST_REMEMBERED = 1_000
"""Announcements of which is known that they have been heard: a cluster's servers pass them on to each other."""

Mode = Literal["pubsub", "tracking"]
EVERYTHING: Glob[str] = Glob("*")
now = time.monotonic


def channel_of(database: int, prefix: bytes) -> bytes:
    """The channel for a namespace, of which this is what its keys begin with.

    >>> channel_of(0, b"app:")
    b'khronos_fast:0:app'
    """
    return b"khronos_fast:%d:%b" % (database, prefix.removesuffix(b":"))


class Coherence:
    """What one process hears of others' changes, in one way, from one Redis; and tells them.

    Args:
        mode: how.
        database: the number of the database.
        verify: tells what these keys begin with in Redis now, by as many bytes as a token has.
    """

    def __init__(self, mode: Mode, database: int, verify: Callable[[list[bytes]], dict[bytes, bytes]]) -> None:
        self.mode = mode
        self.database = database
        self.counters = Counters()
        self.lag: float | None = None
        self._verify = verify
        self._heard: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._trusted_until = 0.0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have a name of one's own, as the child of a fork is another process."""
        self.origin = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    # ---------------------------------------------------------------------- what memory is worth

    def trust(self, members: Iterable[Rules], proof: float) -> None:
        """All of it was right at this moment, and what has been said since then will be heard."""
        self._trusted_until = proof + TRUST
        for rules in members:
            if rules.hears:
                trust(rules.memory, self._trusted_until - now())

    def regain(self, rules: Rules, proof: float) -> None:
        """From this moment on all is heard; what is in memory, or on its way there, may be from before."""
        for memory in rules.memories:
            memory.invalidate(EVERYTHING)
        trust(rules.memory, proof + TRUST - now())
        rules.hears = True

    def lose(self, rules: Rules) -> None:
        """Others can't be heard any more. What is kept for an outage, `last`, stays: this may be one."""
        rules.hears = False
        rules.memory.invalidate(EVERYTHING)
        trust(rules.memory, None)

    @property
    def is_trusted(self) -> bool:
        """Whether memory is asked; only where the connections are there."""
        return now() < self._trusted_until

    # ---------------------------------------------------------------------- hearing

    def announced(self, members: list[Rules], message: Any) -> None:
        """Another process has published this in the namespace of these caches."""
        try:
            told = decode(message)
        except ValueError:
            # Maybe of a later version, and then of a change.
            self.counters.add("undecodable")
            self.forget_all(members)
            return
        if told.origin == self.origin or (told.origin, told.number) in self._heard or told.is_trial:
            return
        self._heard[told.origin, told.number] = None
        if len(self._heard) > MOST_REMEMBERED:
            self._heard.popitem(last=False)
        self.counters.add("messages")
        for rules in members:
            for memory in rules.memories:
                if told.pattern is not None:
                    memory.invalidate(told.pattern)
                for key in told.keys:
                    memory.delete(key)

    def changed(self, members: list[Rules], keys: list[bytes] | None) -> None:
        """Redis tells that these have been changed, by whomever; None: that all there was has been deleted."""
        if keys is None:
            self.counters.add("messages")
            self.forget_all(members)
            return
        self.counters.add("messages", len(keys))
        turn = now() + TURN
        for rules in members:
            mine = {key for key in keys if key.startswith(rules.prefix)}
            own = self._sort_own(rules, mine)
            for full_key in mine:
                try:
                    key = full_key[len(rules.prefix) :].decode("utf-8", "surrogatepass")
                except UnicodeDecodeError:
                    continue  # none of ours
                for memory in rules.memories:
                    forget(memory, key, full_key in own)
                if now() > turn:
                    time.sleep(0)
                    turn = now() + TURN

    def _sort_own(self, rules: Rules, keys: set[bytes]) -> set[bytes]:
        """Take out of the keys those for which nothing but loads has left anything in Redis, and nothing is there.

        Return those that hold the token of a load of this process, still: it would else be overtaken by itself, and its
        fence sees to it that it overtakes nobody.
        """
        suspects = [key for key in keys if key in rules.tokens or key in rules.unstorable]
        found = self._verify(suspects) if suspects else {}
        own = set()
        for key in suspects:
            if found.get(key) in rules.tokens.get(key, ()):
                own.add(key)
            elif found.get(key) == b"" and key in rules.unstorable:
                keys.discard(key)
            else:
                rules.unstorable.pop(key, None)
        return own

    def forget_all(self, members: Iterable[Rules]) -> None:
        """Forget all that these caches have."""
        for rules in members:
            for memory in rules.memories:
                memory.invalidate(EVERYTHING)

    # ---------------------------------------------------------------------- telling

    def news(self, prefix: bytes, change: list[str] | Glob[Any], key: bytes | None) -> list[Command]:
        """What tells others of a change."""
        if self.mode != "pubsub":
            return []
        message = encode(self.origin, next(self._numbers), change)
        return [publish(channel_of(self.database, prefix), message, key)]

    def count_told(self, replies: list[Any]) -> None:
        """Count what was published."""
        failed = sum(isinstance(reply, Exception) for reply in replies)
        self.counters.add("published", len(replies) - failed)
        self.counters.add("publish_failures", failed)

    # ---------------------------------------------------------------------- telling of it

    def stats(self, state: Literal["up", "suspended", "down", "closed"]) -> CoherenceStats:
        """Return what was counted."""
        return CoherenceStats(self.mode, state, lag=self.lag, **self.counters.as_dict())
