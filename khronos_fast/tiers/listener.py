"""The thread that hears of other processes' changes, for all caches of a `RedisTier` that want it in the same way.

It has a connection of its own to each server that holds keys, and waits for all of them at once. It lives as long as
there is a cache that wants to hear: it does not keep any of them alive, nor the tier. A forked process has none of its
threads, so its caches ask Redis instead of memory until one of them has started a thread there.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import selectors
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import RedisError

from khronos_fast._core.trust import trust
from khronos_fast.tiers.coherence import BEAT, FAREWELL, SILENCE, Coherence, channel_of, now
from khronos_fast.tiers.command import Command
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.payload import TOKEN_SIZE
from khronos_fast.tiers.subscription import Refused, Subscription
from khronos_fast.tiers.wire import unavailable
from khronos_fast.tiers.writes import BATCH

if TYPE_CHECKING:
    from collections.abc import Callable

    from khronos_fast.tiers.address import Address
    from khronos_fast.tiers.coherence import Mode
    from khronos_fast.tiers.command import Node
    from khronos_fast.tiers.link import Link
    from khronos_fast.tiers.rules import Rules
    from khronos_fast.tiers.stats import CoherenceStats

logger = logging.getLogger("khronos_fast.tiers")
CONNECT = 1.0
"""Seconds to connect to a server."""
PATIENCE = 3.0
"""Seconds that making a cache waits until others are heard."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
"""Seconds between two attempts to connect."""
_FAILURES = (RedisUnavailable, RedisError, OSError)


class Ears:
    """What a listening thread waits for: its connections, and somebody who rings."""

    def __init__(self) -> None:
        self.links: dict[Node, Subscription] = {}
        self.wanted: set[Node] = set()
        self._doorbell, self._button = socket.socketpair()
        self._doorbell.setblocking(False)
        self._button.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._doorbell, selectors.EVENT_READ)

    def add(self, link: Subscription) -> None:
        """Listen to one more server."""
        self.links[link.node] = link
        self._selector.register(link.socket, selectors.EVENT_READ)

    def drop(self, link: Subscription) -> None:
        """Listen to one server less."""
        del self.links[link.node]
        with contextlib.suppress(KeyError, ValueError):  # it has been closed already
            self._selector.unregister(link.socket)
        link.close()

    def ring(self) -> None:
        """End the wait."""
        with contextlib.suppress(OSError):  # it has been rung often enough, or nobody waits any more
            self._button.send(b"!")

    def wait(self, seconds: float) -> None:
        """Wait until there is something to read, or somebody rings."""
        self._selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            self._doorbell.recv(4096)

    def close(self) -> None:
        """Close everything. In a forked child what is the parent's stays as it is."""
        for link in list(self.links.values()):
            link.close()
        self.links.clear()
        self._selector.close()
        self._doorbell.close()
        self._button.close()


class Listener:
    """Hears of changes for the caches that have joined.

    Args:
        address: where Redis is.
        link: how it is asked.
        mode: how it is to tell of changes.
        relocate: has all links find out where the primary is, before they ask anything else.
    """

    def __init__(
        self, address: Address, link: Link, mode: Mode, relocate: weakref.WeakMethod[Callable[[], None]]
    ) -> None:
        self.address = address
        self.coherence: Coherence = Coherence(mode, address.settings.get("db") or 0, self._verify)
        self.prefixes: set[bytes] = set()
        """What the keys of all namespaces begin with that have ever been among them."""
        self._link = link
        self._relocate = relocate
        self._members: weakref.WeakSet[Rules] = weakref.WeakSet()
        self._closed = False
        self._refusal: RedisUnavailable | None = None
        self._lost: RedisUnavailable | None = None
        self._ears: Ears | None = None
        self._prepare()
        _listeners.add(self)

    def _prepare(self) -> None:
        # Protects who the members are, and whether there is a thread for them; whoever waits for news of it waits with
        # it. Inside, nothing but that. Reentrant, as a signal handler may come by.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._retry = 0.0
        self._pause = SHORTEST_PAUSE
        self._is_new = True  # since the process was forked, say

    # ---------------------------------------------------------------------- for the caches

    @property
    def running(self) -> bool:
        """Whether there is a thread, as there is to be one."""
        return self._thread is not None or self._closed

    def join(self, rules: Rules, *, patient: bool) -> None:
        """Hear of changes for one more cache, and wait until that is so.

        Args:
            rules: the cache's.
            patient: where Redis is away, it will be heard later, and that is no error.

        Raises:
            ValueError: with tracking, its namespace overlaps with another one.
            RedisUnavailable: the server does not tell of changes.
        """
        self.coherence.lose(rules)
        rules.tracks = self.coherence.mode == "tracking"
        with _joining:
            if rules.tracks:
                self._check_overlap(rules)
            with self._changed:
                self._refusal = self._lost = None
                self._retry = 0.0
                self._members.add(rules)
                self.prefixes.add(rules.prefix)
        try:
            error = self._wait_for(rules, patient=patient) or (self._try_to_tell(rules) if rules.hears else None)
            if error is not None:
                raise RedisUnavailable(
                    f"coherence={self.coherence.mode!r} needs to hear of changes, which Redis at {self.address} does "
                    f"not tell: {error}; let this user {self._permission()}, or leave coherence out"
                ) from error
        except BaseException:
            self.leave(rules)
            self.wait_for_end()
            raise

    def _wait_for(self, rules: Rules, *, patient: bool) -> Exception | None:
        """Wait until changes are heard; what is in the way, if they are not."""
        self.start()
        deadline = now() + PATIENCE
        with self._changed:
            while not (rules.hears or self._refusal or (patient and self._lost)) and (left := deadline - now()) > 0:
                self._changed.wait(left)
            if rules.hears or patient:
                return self._refusal
            return self._refusal or self._lost or unavailable(TimeoutError(), self.address, PATIENCE)

    def _try_to_tell(self, rules: Rules) -> Exception | None:
        """What Redis has against being told of a change."""
        if rules.tracks:
            return None
        try:
            replies = self._link.ask([self.coherence.news(rules.prefix, [], None)])
        except RedisUnavailable:
            return None  # away in this moment; it is no reason not to begin
        return next((reply for reply in replies if isinstance(reply, Exception)), None)

    def _permission(self) -> str:
        if self.coherence.mode == "tracking":
            return "run CLIENT TRACKING"
        return "subscribe and publish to channels that begin with khronos_fast:"

    def _check_overlap(self, rules: Rules) -> None:
        for listener in list(_listeners):
            if listener.coherence.mode != "tracking" or str(listener.address) != str(self.address):
                continue
            for prefix in listener.current_prefixes():
                if prefix != rules.prefix and (prefix.startswith(rules.prefix) or rules.prefix.startswith(prefix)):
                    one, other = (each.decode(errors="replace").removesuffix(":") for each in (rules.prefix, prefix))
                    raise ValueError(
                        f"the namespace {one!r} overlaps with {other!r}, which another cache has on the same Redis: "
                        'with coherence="tracking" none may begin with another one and a colon, nor be empty where '
                        "there are others"
                    )

    def current_prefixes(self) -> set[bytes]:
        """What the keys of the namespaces begin with of which is heard."""
        with self._changed:
            return {rules.prefix for rules in self._members}

    def start(self) -> None:
        """Have a thread, if there is none."""
        with self._changed:
            if self._thread is None and not self._closed and not _exiting:
                try:
                    ears = Ears()
                except OSError:  # no more of those either
                    return
                thread = threading.Thread(
                    target=_listen,
                    args=(weakref.ref(self), ears),
                    name=f"khronos_fast coherence {self.address}",
                    daemon=True,
                )
                self._thread, self._ears = thread, ears
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter is on its way out: the next call tries again
                    self._thread = self._ears = None
                    ears.close()
            elif self._ears is not None:
                self._ears.ring()

    def leave(self, rules: Rules) -> None:
        """Hear for one cache less. The last one ends the thread; `wait_for_end` waits for that."""
        with self._changed:
            self._members.discard(rules)
            rules.hears = False
            if self._ears is not None:
                self._ears.ring()
        trust(rules.memory, None)

    def close(self) -> None:
        """Hear nothing any more."""
        with self._changed:
            self._closed = True
            members = list(self._members)
        for rules in members:
            self.coherence.lose(rules)
            self.leave(rules)

    @property
    def is_ending(self) -> bool:
        """Whether there is a thread that nobody needs any more, and that has not yet closed its connections."""
        with self._changed:
            thread = self._ending if self._members or self._thread is None else self._thread
        return thread is not None and thread.is_alive() and thread is not threading.current_thread()

    def wait_for_end(self) -> None:
        """Wait until it has, but not for long."""
        deadline = now() + FAREWELL
        while self.is_ending and now() < deadline:
            time.sleep(0.001)

    def stats(self, rules: Rules) -> CoherenceStats:
        """Return what was counted, and how it stands with a cache."""
        state: Literal["up", "suspended", "down", "closed"] = "down"
        if self._closed or rules not in self._members:
            state = "closed"
        elif rules.hears:
            state = "up" if self.coherence.is_trusted else "suspended"
        return self.coherence.stats(state)

    # ---------------------------------------------------------------------- in the thread

    def _turn(self, ears: Ears) -> float | None:
        """Do what is to be done now; for how long to wait then. None: nobody wants to hear any more."""
        with self._changed:
            members = list(self._members)
            if not members or self._closed or _exiting:
                if self._ears is ears:
                    self._ending = self._thread
                    self._thread = self._ears = None
                return None
        if self._is_new:
            self._is_new = False
            for rules in members:
                self.coherence.lose(rules)
        self.coherence.look_again(members)
        prefixes = {rules.prefix for rules in members}
        for link in list(ears.links.values()):
            self._attend(ears, link, prefixes)
        self._meet(ears, prefixes)
        self._judge(ears, members)
        if any(link.more for link in ears.links.values()):
            return 0.0
        ends = [link.newest_question + BEAT for link in ears.links.values()]
        if ears.wanted - ears.links.keys() or not ears.wanted:
            ends.append(self._retry)
        return max(min(ends) - now(), 0.0) if ends else BEAT

    def _attend(self, ears: Ears, link: Subscription, prefixes: set[bytes]) -> None:
        """Hear what a server says, and ask it for signs of life."""
        try:
            self._hear([push.parts for push in link.read()], link.node)
            if link.lag is not None:
                self.coherence.lag = link.lag
            silent_since = link.oldest_unanswered
            if silent_since is not None and now() - silent_since > SILENCE:
                raise RedisUnavailable(f"{link.node} has been silent for {SILENCE:g} s")
            if link.cover(prefixes) or now() - link.newest_question >= BEAT:
                link.ask()
        except _FAILURES as error:
            ears.drop(link)
            self._may_have_moved()
            self._failed(error)

    def _hear(self, pushes: list[list[Any]], node: Node) -> None:
        """Do what a server's messages say; those that name keys together, as each may cost a round trip."""
        with self._changed:
            members = list(self._members)
        for kind, messages in itertools.groupby(pushes, lambda parts: bytes(parts[0])):
            if kind == b"message":
                for _, channel, message in messages:
                    meant = [each for each in members if channel_of(self.coherence.database, each.prefix) == channel]
                    self.coherence.announced(meant, message, node)
            elif kind == b"invalidate":
                told = [keys for _, keys in messages]
                self.coherence.changed(members, None if None in told else list(itertools.chain(*told)))

    def _meet(self, ears: Ears, prefixes: set[bytes]) -> None:
        """Connect to those servers that are to be heard and are not."""
        views = [link.topology for link in ears.links.values() if link.topology is not None]
        if views:
            ears.wanted = {node for view in views for node in view.primaries}
        for node in ears.links.keys() - ears.wanted:
            ears.drop(ears.links[node])
        if now() < self._retry or (ears.wanted and not ears.wanted - ears.links.keys()):
            return
        try:
            if not ears.links:
                ears.wanted = set(self._link.primaries(afresh=True))
            for node in ears.wanted - ears.links.keys():
                link = Subscription(self.address, node, self.coherence.mode, self.coherence.database, CONNECT)
                ears.add(link)
                self._attend(ears, link, prefixes)
        except _FAILURES as error:
            self._failed(error)

    def _may_have_moved(self) -> None:
        """Who was the primary may be a replica now, which goes on to answer those who read."""
        relocate = self._relocate()
        if relocate is not None:
            relocate()

    def _failed(self, error: Exception) -> None:
        """A connection could not be made, or was lost."""
        found = error if isinstance(error, RedisUnavailable) else unavailable(error, self.address, CONNECT)
        self._retry = now() + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        with self._changed:
            self._lost = found
            if isinstance(found, Refused):
                self._refusal = found
            self._changed.notify_all()

    def _judge(self, ears: Ears, members: list[Rules]) -> None:
        """Tell the caches whether they can rely on what they have in memory."""
        links = list(ears.links.values())
        complete = bool(links) and ears.wanted == ears.links.keys()
        proof = min((link.proof for link in links), default=0.0)
        news = lost = regained = False
        for rules in members:
            hears = complete and all(rules.prefix in link.confirmed for link in links)
            if hears and not rules.hears:
                if rules.has_heard and not regained:
                    regained = True
                    self.coherence.counters.add("resyncs")
                if not news:
                    # What is read from now on is kept, so it must not come from where nobody listens any more. What
                    # has been asked for already is not kept.
                    self._may_have_moved()
                self.coherence.regain(rules, proof)
                rules.has_heard = news = True
            elif not hears and rules.hears:
                lost = True
                self.coherence.lose(rules)
        if complete:
            self.coherence.trust(members, proof)
            self._let_go(members)
        if lost:
            logger.warning(
                "changes by other processes can't be heard from Redis at %s (%s); until they can be, entries live in "
                "memory for a second at most",
                self.address,
                self._lost or "there is another primary",
            )
        if regained:
            logger.info("changes by other processes are heard again from Redis at %s", self.address)
        if news:
            with self._changed:
                self._lost = None
                self._pause = SHORTEST_PAUSE
                self._changed.notify_all()

    def _let_go(self, members: list[Rules]) -> None:
        """Those that have left meanwhile have no deadline."""
        for rules in members:
            if rules not in self._members:
                self.leave(rules)

    def _verify(self, keys: list[bytes]) -> dict[bytes, bytes] | None:
        asked = [Command(key, (b"GETRANGE", key, 0, TOKEN_SIZE - 1), bytes) for key in keys]
        replies: list[Any] = []
        try:
            for start in range(0, len(asked), BATCH):
                replies += self._link.ask(asked[start : start + BATCH])
        except RedisUnavailable:
            return None
        return {key: reply if isinstance(reply, bytes) else b"" for key, reply in zip(keys, replies, strict=True)}

    def ended(self, ears: Ears) -> None:
        """The thread is no more; should it not have ended by itself, the next call starts another one."""
        with self._changed:
            if self._ears is ears:
                self._thread = self._ears = None

    def end_thread(self) -> None:
        """Have it end, for good, and wait for that, but not for long."""
        with self._changed:
            thread = self._thread
            if self._ears is not None:
                self._ears.ring()
        if thread is not None:
            thread.join(FAREWELL)

    def gone_wrong(self, ears: Ears) -> None:
        """Something has happened that was not foreseen: begin anew."""
        for link in list(ears.links.values()):
            ears.drop(link)
        for rules in list(self._members):
            self.coherence.lose(rules)
        self._failed(RedisUnavailable("listening has failed"))

    # ---------------------------------------------------------------------- forks

    def after_fork(self) -> None:
        """The child hears nothing yet, and shares no connection."""
        if self._ears is not None:
            self._ears.close()
            self._ears = None
        self._prepare()
        self.coherence.begin_anew()
        for rules in list(self._members):
            rules.hears = False
            rules.after_fork()
            trust(rules.memory, 0)


_listeners: weakref.WeakSet[Listener] = weakref.WeakSet()
# Of two caches that join at a time, one sees the other. Inside, nothing but looking and adding. Reentrant, as a
# finalizer or a signal handler may make a cache, too.
_joining = threading.RLock()


_exiting = False


def _at_exit() -> None:
    """A thread that goes on while the interpreter is taken apart keeps things alive that then can't end well."""
    global _exiting
    _exiting = True
    for listener in list(_listeners):
        listener.end_thread()


atexit.register(_at_exit)


def _after_fork() -> None:
    global _joining
    _joining = threading.RLock()
    for listener in list(_listeners):
        listener.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _listen(reference: weakref.ref[Listener], ears: Ears) -> None:
    """Run in a thread of its own."""
    try:
        pause: float | None = 0.0
        while pause is not None:
            ears.wait(pause)
            listener = reference()
            if listener is None:
                return
            try:
                pause = listener._turn(ears)
            except Exception:
                logger.exception("listening to Redis at %s has failed; it begins anew", listener.address)
                listener.gone_wrong(ears)
                pause = LONGEST_PAUSE
            del listener
    finally:
        ears.close()
        listener = reference()
        if listener is not None:
            listener.ended(ears)
