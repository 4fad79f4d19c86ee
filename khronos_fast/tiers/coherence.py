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

import contextlib
import itertools
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from khronos_fast._core.glob import Glob
from khronos_fast._core.trust import forget, moment, overtake, trust
from khronos_fast.tiers.announcements import Announcement, decode, encode, publish
from khronos_fast.tiers.payload import is_token
from khronos_fast.tiers.stats import CoherenceStats, Counters

if TYPE_CHECKING:
    from khronos_fast.tiers.command import Command, Node
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
# What of this process's may lie in Redis: the token of a load, a value that is being written, nothing where the value
# is in memory only, the last value.
_TOKEN, _WRITTEN, _NOTHING, _LAST = "token", "written", "nothing", "last"
_Own = tuple[str, bytes]
now = moment


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
        verify: tells what these keys begin with in Redis now, by as many bytes as a token has; None: it can't be told.
    """

    def __init__(self, mode: Mode, database: int, verify: Callable[[list[bytes]], dict[bytes, bytes] | None]) -> None:
        self.mode: Mode = mode
        self.database = database
        self.counters: Counters = Counters()
        self.lag: float | None = None
        self._verify = verify
        # Which servers have passed it on, by who has said it.
        self._heard: OrderedDict[tuple[str, int], set[Node]] = OrderedDict()
        self._unsure: set[bytes] = set()
        self._trusted_until = 0.0
        self.begin_anew()

    def begin_anew(self) -> None:
        """Have a name of one's own, as the child of a fork is another process."""
        self.origin: str = os.urandom(8).hex()
        self._numbers = itertools.count(1)

    # ---------------------------------------------------------------------- what memory is worth

    def trust(self, members: Iterable[Rules], proof: float) -> None:
        """All of it was right at this moment, and what has been said since then will be heard."""
        self._trusted_until = proof + TRUST
        for rules in members:
            if rules.hears:
                trust(rules.memory, self._trusted_until)

    def regain(self, rules: Rules, proof: float) -> None:
        """From this moment on all is heard; what is in memory, or on its way there, may be from before."""
        for memory in rules.memories:
            memory.invalidate(EVERYTHING)
        trust(rules.memory, proof + TRUST)
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

    def announced(self, members: list[Rules], message: Any, node: Node) -> None:
        """A process has published this in the namespace of these caches, says this server."""
        try:
            told = decode(message)
        except ValueError:
            # Maybe of a later version, and then of a change.
            self.counters.add("undecodable")
            self.forget_all(members)
            return
        if told.origin == self.origin or told.is_trial or self._is_copy(told, node):
            return
        self.counters.add("messages")
        for rules in members:
            for memory in rules.memories:
                if told.pattern is not None:
                    memory.invalidate(told.pattern)
                for key in told.keys:
                    memory.delete(key)

    def _is_copy(self, told: Announcement, node: Node) -> bool:
        """Whether another server of a cluster has passed it on already. From the same one it has come anew."""
        seen = self._heard.setdefault((told.origin, told.number), set())
        if len(self._heard) > MOST_REMEMBERED:
            self._heard.popitem(last=False)
        is_copy = bool(seen) and node not in seen
        seen.add(node)
        return is_copy

    def changed(self, members: list[Rules], keys: list[bytes] | None) -> None:
        """Redis tells that these have been changed, by whomever; None: that all there was has been deleted."""
        self.counters.add("messages", 1 if keys is None else len(keys))
        if keys is None:
            self.forget_all(members)
        else:
            self._forget_changed(members, set(keys))

    def look_again(self, members: list[Rules]) -> None:
        """Find out of changes of which it could not be told before whose they were."""
        if self._unsure:
            keys, self._unsure = self._unsure, set()
            self._forget_changed(members, keys)

    def _forget_changed(self, members: list[Rules], keys: set[bytes]) -> None:
        turn = now() + TURN
        for rules in members:
            mine = {key for key in keys if key.startswith(rules.prefix)}
            suspects = {key: own for key in mine if (own := _own(rules, key))}
            found = self._verify(list(suspects)) if suspects else {}
            for full_key in mine:
                try:
                    key = _name_of(rules, full_key)
                except UnicodeDecodeError:
                    continue  # none of ours
                if full_key not in suspects:
                    self._forget(rules, key)
                elif found is None:
                    self._unsure.add(full_key)
                    self._forget_reads(rules, key)
                else:
                    self._judge(rules, full_key, key, found[full_key], suspects[full_key])
                if now() > turn:
                    time.sleep(0)
                    turn = now() + TURN

    def _judge(self, rules: Rules, full_key: bytes, key: str, beginning: bytes, own: list[_Own]) -> None:
        """Forget what a change makes doubtful, knowing what the key began with in Redis and what was one's own then."""
        since = [each for each in _own(rules, full_key) if each not in own]
        own = own + since
        kinds = {kind for kind, mark in own if (beginning.startswith(mark) if mark else not beginning)}
        if rules.last is not None and not kinds.isdisjoint((_WRITTEN, _LAST)):
            # The last value is the one that is there, or is about to be. What has been read may not be.
            forget(rules.memory, key, _WRITTEN in kinds)
            overtake(rules.last, key)
        elif _TOKEN in kinds:
            # A load of this process has left that. It would else be overtaken by itself; its fence sees to it that it
            # overtakes nobody.
            forget(rules.memory, key, True)
            if rules.last is not None and since:
                overtake(rules.last, key)  # what it has brought is there by now, and of that Redis tells, too
            elif rules.last is not None:
                forget(rules.last, key, True)
        elif _NOTHING in kinds:
            pass  # loads have come and gone; there is nothing that could be newer
        else:
            rules.unstorable.pop(full_key, None)
            self._forget(rules, key)

    def _forget(self, rules: Rules, key: str) -> None:
        for memory in rules.memories:
            memory.delete(key)

    def _forget_reads(self, rules: Rules, key: str) -> None:
        for memory in rules.memories:
            forget(memory, key, True)

    def forget_all(self, members: Iterable[Rules]) -> None:
        """Forget all that these caches have."""
        for rules in members:
            for memory in rules.memories:
                memory.invalidate(EVERYTHING)

    # ---------------------------------------------------------------------- telling

    def news(self, prefix: bytes, change: list[str] | Glob[Any], key: bytes | None) -> Command:
        """What tells others of a change."""
        message = encode(self.origin, next(self._numbers), change)
        return publish(channel_of(self.database, prefix), message, key)

    # ---------------------------------------------------------------------- telling of it

    def stats(self, state: Literal["up", "suspended", "down", "closed"]) -> CoherenceStats:
        """Return what was counted."""
        return CoherenceStats(self.mode, state, lag=self.lag, **self.counters.as_dict())


def _name_of(rules: Rules, full_key: bytes) -> str:
    return full_key[len(rules.prefix) :].decode("utf-8", "surrogatepass")


def _own(rules: Rules, full_key: bytes) -> list[_Own]:
    """What of this process's may lie in Redis, so that it may be that nobody else has changed the key."""
    own = [(_TOKEN if is_token(mark) else _WRITTEN, mark) for mark in rules.tokens_of(full_key)]
    if full_key in rules.unstorable:
        own.append((_NOTHING, b""))
    if rules.last is not None:
        with contextlib.suppress(UnicodeDecodeError):
            last = rules.last.peek(_name_of(rules, full_key))
            if last is not None and last.mark:
                own.append((_LAST, last.mark))
    return own
