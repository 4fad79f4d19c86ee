"""`RedisTier`: how caches reach Redis, whether it is worth a try, and what is still to be deleted there."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from khronos_fast._core.glob import Glob
from khronos_fast.tiers.breaker import PAUSE, Breaker
from khronos_fast.tiers.errors import Exhausted, NotAsked, RedisUnavailable
from khronos_fast.tiers.making_up import delete_remembered, tell_remembered
from khronos_fast.tiers.pending import RememberedDeletions
from khronos_fast.tiers.settings import parse_seconds
from khronos_fast.tiers.stats import Counters, RedisStats
from khronos_fast.tiers.steps import Ask, AskNode, Primaries
from khronos_fast.tiers.threads import run_plan

if TYPE_CHECKING:
    from types import TracebackType

    from khronos_fast.tiers.address import Address
    from khronos_fast.tiers.async_link import AsyncLink
    from khronos_fast.tiers.coherence import Mode
    from khronos_fast.tiers.command import Command
    from khronos_fast.tiers.listener import Listener
    from khronos_fast.tiers.rules import Rules

logger = logging.getLogger("khronos_fast.tiers")
MOST_DOUBTS = 100_000
DOUBT = 5.0
"""Seconds for which a write that was not answered may still come, over a slow network, and undo later ones."""


class RedisTier:
    """A Redis, or Valkey, that caches share: one set of connections, one breaker, one memory of deletions.

    No call takes longer than `timeout`. None is tried again, but where an idle connection turns out to have been cut,
    or a cluster or a Sentinel names another server. After three failures in a row nobody asks any more; a thread in the
    background finds out when Redis is back. What could not be deleted meanwhile is deleted then, and before its key is
    read again.

    Args:
        redis: a URL (`redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///path`,
            `redis+cluster://host:7000,host:7001`), or a client of redis-py, of any kind, that lends its address and
            credentials.
        timeout: seconds for a round trip, connecting included.
        max_connections: the most connections to a server, of each process (with asyncio: of each event loop).
        name: what logs and metrics call it.
        connect: False: do not make sure at once that it can be reached.

    Raises:
        RedisURLError: the URL is none.
        RedisUnavailable: it can't be reached, or refuses the password.
        ImportError: redis-py is not installed.
    """

    def __init__(
        self,
        redis: Any,
        *,
        timeout: float = 0.25,
        max_connections: int = 50,
        name: str | None = None,
        connect: bool = True,
    ) -> None:
        self.timeout: float = parse_seconds(timeout, "timeout")
        if isinstance(max_connections, bool) or not isinstance(max_connections, int):
            raise TypeError(f"max_connections must be an int, not {max_connections!r}")
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections}")
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a str or None, not {name!r}")
        self.name = name
        self.max_connections = max_connections
        self.address: Address = address_of(redis)
        if connect:
            self.address.check()
        self._shown = ("", "")
        self.breaker: Breaker = Breaker()
        self.deletions: RememberedDeletions = RememberedDeletions()
        # Of what has been deleted, or written, and other processes could not be told.
        self.untold: RememberedDeletions = RememberedDeletions()
        self._counters = Counters()
        self._told: set[str] = set()
        # Until when, and of which namespace; the oldest first.
        self.doubts: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._members: weakref.WeakSet[Rules] = weakref.WeakSet()
        self._listeners: dict[Mode, Listener] = {}
        self._patient = not connect
        self._closed = False
        from khronos_fast.tiers.link import Link

        self._link = Link(self.address, self.timeout, max_connections)
        self._async_links: dict[asyncio.AbstractEventLoop, AsyncLink] = {}
        self._prepare()
        _tiers.add(self)

    def _prepare(self) -> None:
        # Protects the keeper and the links of event loops: who makes one. Inside, nothing but that.
        self._lock = threading.RLock()
        self._keeper: threading.Thread | None = None
        self._stop = threading.Event()

    # ---------------------------------------------------------------------- asking

    @property
    def clustered(self) -> bool:
        """Whether there are many servers, each with a part of the keys."""
        return self.address.clustered

    def call(self, step: Any) -> Any:
        """Do what a plan asks of Redis. Raises RedisUnavailable."""
        ticket = self._enter()
        try:
            answer = _perform(self._link, step)
            self._check(step, answer)
        except RedisUnavailable as error:
            self._failed(ticket, error)
            raise
        self._answered(ticket)
        return answer

    async def call_async(self, step: Any) -> Any:
        """Do the same in the running event loop."""
        ticket = self._enter()
        try:
            answer = await _perform(self._async_link(), step)
            self._check(step, answer)
        except RedisUnavailable as error:
            self._failed(ticket, error)
            raise
        self._answered(ticket)
        return answer

    def _enter(self) -> int:
        ticket = 0 if self._closed else self.breaker.allows()
        if not ticket:
            if self._closed:
                raise NotAsked(f"the link to {self.address} has been closed")
            self.look_after()
            raise NotAsked(f"{self.address} is not asked for the moment, as it has failed")
        return ticket

    def _answered(self, ticket: int) -> None:
        self._counters.add("calls")
        self.breaker.succeeded(ticket)
        self.look_after_rest()

    def _check(self, step: Any, answer: list[Any]) -> None:
        """Raise RedisUnavailable for a reply that can't be one to its command; tell of those that Redis refuses."""
        if type(step) is Primaries:
            return
        for command, reply in zip(step.commands, answer, strict=True):
            if isinstance(reply, Exception):
                self._refused(reply)
            elif not isinstance(reply, command.expects):
                name, kind = command.args[0], type(reply).__name__
                raise RedisUnavailable(f"Redis at {self.address} has answered {name!r} with something of type {kind}")

    def _refused(self, reply: Exception) -> None:
        text = str(reply)
        if text.startswith("WRONGTYPE"):
            return  # a key of somebody else's
        self._counters.add("refusals")
        kind = type(reply).__name__
        if kind not in self._told:
            self._told.add(kind)
            logger.warning("Redis at %s refuses commands (said once for a kind): %s", self.address, text)

    def _failed(self, ticket: int, error: RedisUnavailable) -> None:
        self._counters.add("failures")
        if isinstance(error, Exhausted):
            return  # too much is asked at a time; that is no fault of the server's
        self._counters.add("timeouts", "Timeout" in type(error.__cause__).__name__)
        if self.breaker.failed(ticket):
            logger.warning("%s; it is not asked any more until it answers", str(error))
            self.look_after()

    def _async_link(self) -> AsyncLink:
        loop = asyncio.get_running_loop()
        link = self._async_links.get(loop)
        if link is None:
            from khronos_fast.tiers.async_link import AsyncLink

            with self._lock:
                for other in [each for each in self._async_links if each.is_closed()]:
                    self._async_links.pop(other).discard()
                link = self._async_links[loop] = AsyncLink(self.address, self.timeout, self.max_connections)
        return link

    def relocate(self) -> None:
        """The primary may be another one: every link finds out before it asks anything else. From any thread."""
        self._link.relocate()
        with self._lock:
            links = list(self._async_links.values())
        for link in links:
            link.relocate()

    # ---------------------------------------------------------------------- who shares it

    def join(self, rules: Rules) -> None:
        """A cache uses it from now on."""
        with self._lock:
            self._members.add(rules)

    def others(self, rules: Rules) -> list[Rules]:
        """Return the other caches that have the same keys here."""
        if len(self._members) == 1:
            return []
        with self._lock:
            return [each for each in self._members if each is not rules and each.prefix == rules.prefix]

    def hear(self, rules: Rules, mode: Mode) -> None:
        """Have a cache hear of other processes' changes. Raises ValueError, RedisUnavailable."""
        if self._closed:
            raise RedisUnavailable(f"{self!r} has been closed; make another one")
        from khronos_fast.tiers.listener import Listener

        with self._lock:
            listener = self._listeners.get(mode)
            if listener is None:
                # Weakly, as the tier has the listener.
                relocate = weakref.WeakMethod(self.relocate)
                listener = self._listeners[mode] = Listener(self.address, self._link, mode, relocate)
        listener.join(rules, patient=self._patient)
        rules.listener = listener

    def news(self, prefix: bytes, change: list[str] | Glob[Any], key: bytes | None) -> list[Command]:
        """Return what tells other processes of a change in a namespace, if a cache of this tier has them told."""
        listener = self._listeners.get("pubsub")
        if listener is None or prefix not in listener.prefixes:
            return []
        return [listener.coherence.news(prefix, change, key)]

    def count_told(self, told: int, failed: int) -> None:
        """Count what was told, and what Redis has refused."""
        listener = self._listeners.get("pubsub")
        if listener is not None:
            listener.coherence.counters.add("published", told)
            listener.coherence.counters.add("publish_failures", failed)

    # ---------------------------------------------------------------------- what is still to be deleted

    def remember(self, keys: Sequence[bytes], namespace: bytes, *, in_doubt: bool = False) -> None:
        """Have these keys deleted before they are read again. `in_doubt`: a write of theirs may still be under way."""
        if in_doubt:
            until = time.monotonic() + DOUBT
            with self._lock:
                for key in keys:
                    self.doubts[key] = until, namespace
                    self.doubts.move_to_end(key)
                while len(self.doubts) > MOST_DOUBTS:
                    self.doubts.popitem(last=False)
        for key in keys:
            self.deletions.add(key, namespace)
        self.look_after()

    def covers(self, key: bytes) -> int | None:
        """Return a ticket if the key must be deleted before it is read, to be handed to `deleted`; else None."""
        ticket = self.deletions.covers(key) if self.deletions.some else None
        return 0 if ticket is None and self.doubts and self._is_in_doubt(key) else ticket

    def deleted(self, key: bytes, ticket: int) -> None:
        """A key that was remembered has been deleted, or written. While a write is in doubt it stays remembered."""
        if not (self.doubts and self._is_in_doubt(key)):
            self.deletions.done(key, ticket)

    def _is_in_doubt(self, key: bytes) -> bool:
        doubt = self.doubts.get(key)
        return doubt is not None and doubt[0] > time.monotonic()

    def end_doubts(self) -> None:
        """Forget those whose time is over; their keys are remembered, and are deleted from now on for good."""
        with self._lock:
            while self.doubts:
                key, (until, namespace) = next(iter(self.doubts.items()))
                if until > time.monotonic():
                    return
                del self.doubts[key]
                # (Its namespace may have been deleted as a whole meanwhile, and forgotten.)
                self.deletions.add(key, namespace)

    # ---------------------------------------------------------------------- looking after it

    @property
    def _has_rest(self) -> bool:
        return self.deletions.some or self.untold.some or bool(self.doubts)

    def look_after_rest(self) -> None:
        """Have somebody in the background do what is still to be done, if there is anything."""
        if self._has_rest:
            self.look_after()

    def look_after(self) -> None:
        """Have somebody in the background find out when Redis is back, and delete there what is still to be deleted."""
        if self._keeper is not None or self._closed:
            return
        with self._lock:
            if self._keeper is not None:
                return
            keeper = threading.Thread(
                target=_keep, args=(weakref.ref(self), self._stop), name=f"khronos_fast {self.address}", daemon=True
            )
            self._keeper = keeper
            try:
                keeper.start()
            except RuntimeError:  # no more threads, or the interpreter is on its way out: the next call tries again
                self._keeper = None

    def _look(self, probe: int) -> int | None:
        """Probe, and delete what is still to be deleted. None: no more is to be done; else the ticket to go on with."""
        if not self.breaker.allows():
            probe = probe if self.breaker.is_awaited(probe) else self.breaker.start_probe()
            try:
                self._link.ping()
            except RedisUnavailable:
                self.breaker.failed(probe)
                return probe
            except BaseException:
                self.breaker.end_probe(probe)  # the next look is another's
                raise
            if self.breaker.succeeded(probe):
                logger.info("Redis at %s answers again", self.address)
        for make_up in (delete_remembered, tell_remembered):
            with contextlib.suppress(RedisUnavailable):  # then there is a rest
                run_plan(self.call, make_up(self))
        with self._lock:
            if self._has_rest or not self.breaker.allows():
                return 0
            self._keeper = None
        return None

    def remember_to_tell(self, full_keys: Sequence[bytes]) -> None:
        """Have other processes told that these have changed, if any cache has them told of such."""
        for key in full_keys:
            namespaces = self.told_namespaces(key)
            if namespaces:
                self.untold.add(key, max(namespaces, key=len))
        self.look_after_rest()

    def told_namespaces(self, key_or_pattern: bytes | None = None) -> list[bytes]:
        """Return what the keys begin with of which others are told; of those that this one belongs to."""
        listener = self._listeners.get("pubsub")
        prefixes = [] if listener is None else list(listener.prefixes)
        if key_or_pattern is None:
            return prefixes
        return [each for each in prefixes if key_or_pattern.startswith((each, Glob.escape(each)))]

    # ---------------------------------------------------------------------- for its owner

    def ping(self) -> bool:
        """Whether Redis answers now."""
        try:
            self._link.ping()
        except RedisUnavailable:
            return False
        return True

    def _shown_address(self) -> str:
        # Writing it costs more than all the rest of `stats`; its kind may turn out to be another one.
        kind, text = self._shown
        if kind != self.address.kind:
            kind, text = self._shown = self.address.kind, str(self.address)
        return text

    def stats(self) -> RedisStats:
        """Return what was counted, and how it stands."""
        return RedisStats(
            address=self._shown_address(),
            breaker=self.breaker.state,
            breaker_opened=self.breaker.opened,
            deletions_remembered=len(self.deletions),
            deletions_forgotten=self.deletions.forgotten,
            **self._counters.as_dict(),
        )

    def close(self) -> None:
        """Close all connections. Those of event loops close there, as soon as these come to it."""
        for loop, link in self._end():
            _close_there(loop, link)

    async def aclose(self) -> None:
        """Close all connections, from within an event loop."""
        here = asyncio.get_running_loop()
        for loop, link in self._end():
            if loop is here:
                await link.close()
            else:
                _close_there(loop, link)

    def _end(self) -> list[tuple[asyncio.AbstractEventLoop, AsyncLink]]:
        self._closed = True
        self._stop.set()
        for listener in list(self._listeners.values()):
            listener.close()
        self._link.close()
        with self._lock:
            links = list(self._async_links.items())
            self._async_links.clear()
        return links

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        name = "" if self.name is None else f" {self.name!r}"
        return f"<{type(self).__name__}{name} {self.address}: {'closed' if self._closed else self.breaker.state}>"

    def _after_fork(self) -> None:
        """The child has none of the parent's threads, and nothing that it could share with it."""
        # Let go of, a transport would take its socket off the parent's selector.
        _left_behind.append(self._async_links)
        self._async_links = {}
        self.breaker.reset()
        self.deletions.after_fork()
        self.untold.after_fork()
        self._prepare()


_tiers: weakref.WeakSet[RedisTier] = weakref.WeakSet()
_left_behind: list[Any] = []


def _after_fork() -> None:
    for tier in list(_tiers):
        tier._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def address_of(redis: Any) -> Address:
    """Return where a Redis is that is given as a URL, as a client of redis-py or as a tier.

    What imports redis-py is imported from here on, as one need not have it to name a tier. Raises ImportError.
    """
    if isinstance(redis, RedisTier):
        return redis.address
    from khronos_fast.tiers.address import Address

    return Address.of(redis)


def _close_there(loop: asyncio.AbstractEventLoop, link: AsyncLink) -> None:
    """Have a link closed by its loop; by nobody, if that is closed itself."""
    try:
        loop.call_soon_threadsafe(link.shut)
    except RuntimeError:
        link.discard()


def _perform(link: Any, step: Any) -> Any:
    """Do a step with a link; what that returns is to be awaited if the link is for tasks."""
    if type(step) is Ask:
        return link.ask(step.commands)
    if type(step) is AskNode:
        return link.ask_node(step.node, step.commands)
    assert type(step) is Primaries
    return link.primaries()


def _keep(reference: weakref.ref[RedisTier], stop: threading.Event) -> None:
    """Run in a thread of its own, which ends when there is no more to do, or nobody has the tier any more."""
    probe: int | None = 0
    while not stop.wait(PAUSE):
        tier = reference()
        if tier is None:
            return
        try:
            probe = tier._look(probe or 0)
        except Exception:
            logger.exception("looking after Redis at %s has failed", tier.address)
        if probe is None:
            return
        del tier
