"""How commands get to the servers that they are for, and the answers back: the same for threads and for tasks.

One server: borrow a connection, send all commands at once, read all replies. That is the whole of the hot path. What
else there is:

- A connection that was idle turns out dead. The others of its age are dropped with it and the commands are repeated
  once on a fresh one, if no reply had come. (So a command may run twice; all that the tiers send may.)
- A cluster. `CLUSTER SLOTS` says who serves what; MOVED corrects it slot by slot, and has it read again, at most once
  a second; ASK and TRYAGAIN are followed. A node that fails is not tried again for half a second, except by one who
  looks whether it is back, and the topology is asked of another one.
- Sentinels. They say who is the primary, and are asked again when that one fails or turns out to be a replica: by what
  it answers, or since somebody who listens to it has been told so.

redis-py's clients do the same, but not within a time that one can state, as they wait anew for each server and each
piece of an answer; so what is taken from redis-py are the connections with their handshake, and the parser.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot
from redis.exceptions import AskError, RedisError, ResponseError

from khronos_fast.tiers.connections import Connections
from khronos_fast.tiers.errors import Exhausted, RedisUnavailable
from khronos_fast.tiers.wire import ROLE, Verdict, is_dead, pack, read_topology, rubbish, target, verdict

if TYPE_CHECKING:
    from khronos_fast.tiers.address import Address
    from khronos_fast.tiers.command import Command, Node
    from khronos_fast.tiers.connections import Channel, Kit
    from khronos_fast.tiers.wire import Topology

PENALTY = 0.5
"""Seconds for which a cluster's node that failed is left alone."""
REFRESH = 1.0
"""Seconds that lie at least between two readings of the topology on account of MOVED."""
TROUBLE = 0.1
"""Seconds that lie at least between two readings of the topology on account of a node that fails."""
REPAIRS = 3
"""How often one call may find out anew where the servers are."""
EARLY = 0.01
"""Seconds by which a clock of the event loop may be ahead of ours."""
ASKING = pack((b"ASKING",))
CLUSTER_SLOTS = pack((b"CLUSTER", b"SLOTS"))


class Parcel:
    """Commands for one node, and what became of them."""

    __slots__ = ("asking", "channel", "connections", "data", "error", "places", "repeated", "replies")

    def __init__(self, connections: Connections, data: bytes, places: Sequence[int], asking: bool = False) -> None:
        self.connections = connections
        self.data = data
        self.places = places
        self.asking = asking
        self.channel: Channel | None = None
        self.replies: list[Any] = []
        self.error: Exception | None = None
        self.repeated = False

    def drop(self) -> None:
        """Close the connection that is in use for it."""
        if self.channel is not None:
            channel, self.channel = self.channel, None
            self.connections.drop(channel)


class Errand:
    """Commands, what is still to be asked of whom, and the replies so far."""

    __slots__ = ("commands", "deadline", "node", "pause", "repairs", "replies", "rounds", "todo")

    def __init__(self, commands: Sequence[Command], node: Node | None, deadline: float) -> None:
        self.commands = commands
        self.node = node
        self.deadline = deadline
        self.replies: list[Any] = [None] * len(commands)
        # Where in the commands, which node (None: whoever is responsible), and whether with ASKING.
        self.todo: list[tuple[int, Node | None, bool]] = [(place, node, False) for place in range(len(commands))]
        self.rounds = 0
        self.repairs = 0
        self.pause = False


class Conversation:
    """All that is known of, and connected to, the servers of one address."""

    def __init__(self, address: Address, kit: Kit, limit: int) -> None:
        self._address = address
        self._kit = kit
        self._limit = limit
        self._closed = False
        self._groups: dict[Node, Connections] = {}
        # Sentinels, the one that answered last first.
        self._sentinels = [Connections(node, kit, 4, sentinel=True) for node in address.sentinels]
        # One server: where it is. With sentinels, None until they have said so.
        self._home: Connections | None = self._group(address.nodes[0]) if address.kind == "single" else None
        # Another object each time that somebody else has noticed that the primary may have changed.
        self._era = object()
        # A cluster.
        self._topology: Topology | None = None
        self._generation = 0
        self._refreshed = float("-inf")
        self._stale = False
        self._down: dict[Node, float] = {}

    async def ask(self, commands: Sequence[Command], deadline: float, node: Node | None = None) -> list[Any]:
        """Send commands, and return the replies in their order."""
        if not commands:
            return []
        if self._closed:
            raise RedisUnavailable("the link is closed")
        # One server may have turned out to be a cluster's.
        home = None if self._address.clustered else self._home
        if home is None or node is not None:
            return await self._ask_all(commands, deadline, node)
        data = b"".join([pack(each.args) for each in commands])
        parcel = Parcel(home, data, range(len(commands)))
        await self._exchange((parcel,), deadline)
        if parcel.error is None:
            for reply in parcel.replies:
                if isinstance(reply, ResponseError):
                    break
            else:
                return parcel.replies
        return await self._ask_all(commands, deadline, None, (parcel,))

    async def primaries(self, deadline: float, *, afresh: bool = False) -> list[Node]:
        """All servers that hold keys, each once; `afresh`: whatever is known of them."""
        if self._closed:
            raise RedisUnavailable("the link is closed")
        if not self._address.clustered:
            if afresh:
                self.relocate()
            return [(self._home or await self._locate(deadline)).node]
        if afresh or self._topology is None or self._stale or time.monotonic() - self._refreshed > REFRESH:
            await self._refresh(deadline, TROUBLE)
        assert self._topology is not None
        return list(dict.fromkeys(each for each in self._topology.slots if each is not None))

    def relocate(self) -> None:
        """With sentinels: who was the primary may be one no more, so they are asked before anything else is.

        An old primary that lives on as a replica goes on to answer those who read, and they would never notice. Any
        thread may say so, also where the connections are an event loop's, so none of them is touched: whoever asks the
        sentinels next closes those to the old primary, or has heard from it that it still is the primary.
        """
        if self._sentinels:
            # In this order: who is just finding out either sees that it may be out of date, or is undone.
            self._era = object()
            self._home = None

    def close(self) -> None:
        """Close all connections that nobody uses, and the others when they come back."""
        self._closed = True
        for each in self.groups():
            each.close()

    def groups(self) -> list[Connections]:
        """The connections to every server, sentinels too."""
        return [*self._groups.values(), *self._sentinels]

    # ------------------------------------------------------------------ one exchange

    async def _exchange(self, parcels: Sequence[Parcel], deadline: float) -> None:
        """Send all parcels and read all replies. What fails is noted on the parcel."""
        try:
            for parcel in parcels:
                if parcel.error is None:
                    try:
                        await self._send(parcel, deadline)
                    except Exception as error:
                        self._failed(parcel, error)
            for parcel in parcels:
                if parcel.error is None:
                    try:
                        await self._receive(parcel, deadline)
                    except Exception as error:
                        self._failed(parcel, error)
        except BaseException:
            # Interrupted, cancelled, or out of time: what is under way is not worth anything any more.
            late = time.monotonic() >= deadline - EARLY
            for parcel in parcels:
                if parcel.channel is not None:
                    parcel.drop()
                    if late:
                        self._blame(parcel.connections)
            raise

    def _failed(self, parcel: Parcel, error: Exception) -> None:
        parcel.drop()
        parcel.error = rubbish(error)
        if not isinstance(error, Exhausted):
            self._blame(parcel.connections)

    async def _send(self, parcel: Parcel, deadline: float) -> None:
        connections = parcel.connections
        while True:
            channel = parcel.channel = await connections.borrow(deadline, fresh=parcel.repeated)
            try:
                await channel.send(parcel.data, deadline)
            except Exception as error:
                self._forgive(parcel, error)
            else:
                return

    async def _receive(self, parcel: Parcel, deadline: float) -> None:
        count = len(parcel.places) * (2 if parcel.asking else 1)
        while True:
            channel = parcel.channel
            assert channel is not None
            try:
                await channel.receive(parcel.replies, count)
            except Exception as error:
                self._forgive(parcel, error)
                await self._send(parcel, deadline)
            else:
                parcel.channel = None
                parcel.connections.give_back(channel)
                if self._down:
                    self._down.pop(parcel.connections.node, None)
                return

    def _forgive(self, parcel: Parcel, error: Exception) -> None:
        """Allow one repetition, if the connection had been idle and no reply came; else raise the error."""
        reused = parcel.channel is not None and parcel.channel.reused
        parcel.drop()
        if parcel.repeated or parcel.replies or not reused or not is_dead(error):
            raise error
        parcel.repeated = True
        parcel.connections.drop_idle()

    def _blame(self, connections: Connections) -> None:
        """A server failed: the next call finds out first where to go, if there is a choice."""
        if self._address.clustered:
            self._down[connections.node] = time.monotonic() + PENALTY
            self._stale = True
        elif self._sentinels and self._home is connections:
            self._home = None
            connections.drop_idle()

    # ------------------------------------------------------------------ everything but the hot path

    async def _ask_all(
        self, commands: Sequence[Command], deadline: float, node: Node | None, parcels: Sequence[Parcel] = ()
    ) -> list[Any]:
        """Ask until every command has its reply; the parcels are what has been asked already."""
        errand = Errand(commands, node, deadline)
        while True:
            if not parcels:
                parcels = await self._parcels(errand)
                await self._exchange(parcels, deadline)
            errand.todo = []
            for parcel in parcels:
                if parcel.error is None:
                    await self._sort(parcel, errand)
                else:
                    await self._again_elsewhere(parcel, errand, parcel.error)
            if not errand.todo:
                return errand.replies
            errand.rounds += 1
            if errand.pause or errand.rounds > 5:
                errand.pause = False
                await self._kit.sleep(min(0.002 * errand.rounds, 0.02))
            if time.monotonic() >= deadline:
                raise TimeoutError(f"sent from one node to another {errand.rounds} times")
            parcels = ()

    async def _sort(self, parcel: Parcel, errand: Errand) -> None:
        """Keep what is an answer, and note what is to be asked again, and where."""
        asked, remap = parcel.connections.node, self._address.remap
        # Every ASKING has a reply of its own.
        replies = parcel.replies[1::2] if parcel.asking else parcel.replies
        verdicts = [verdict(reply) if isinstance(reply, ResponseError) else Verdict.ANSWER for reply in replies]
        if Verdict.REFUSED in verdicts:
            # It is not the one to ask, so what it did answer is not to be trusted either.
            await self._again_elsewhere(parcel, errand, replies[verdicts.index(Verdict.REFUSED)])
            return
        for place, reply, judged in zip(parcel.places, replies, verdicts, strict=True):
            match judged:
                case Verdict.MOVED:
                    await self._moved(reply, asked, errand.deadline)
                    errand.todo.append((place, target(reply, asked, remap), False))
                case Verdict.ASK:
                    errand.todo.append((place, target(reply, asked, remap), True))
                case Verdict.AGAIN:
                    errand.pause = True
                    errand.todo.append((place, asked, parcel.asking))
                case _:
                    errand.replies[place] = reply

    async def _again_elsewhere(self, parcel: Parcel, errand: Errand, error: Exception) -> None:
        """Find out where the servers are, since this one fails; raise the error if there is nobody else to ask."""
        if isinstance(error, Exhausted):
            raise error
        connections = parcel.connections
        self._stale = True
        if errand.node is not None or errand.repairs == REPAIRS:
            raise error
        errand.repairs += 1
        try:
            if self._address.clustered:
                await self._refresh(errand.deadline, TROUBLE)
                if any(self._node_for(errand.commands[place].key) == connections.node for place in parcel.places):
                    raise error
            else:
                connections.drop_idle()
                if not self._sentinels:
                    raise error
                if self._home is connections:  # READONLY, say
                    self._home = None
                if await self._locate(errand.deadline) is connections:
                    raise error
        except (RedisUnavailable, RedisError, OSError) as other:
            raise error from (None if other is error else other)
        errand.todo += [(place, None, False) for place in parcel.places]

    async def _parcels(self, errand: Errand) -> list[Parcel]:
        """Sort what is to be asked by node, in the one order in which everybody borrows connections."""
        clustered = self._address.clustered
        if clustered and (self._topology is None or self._stale):
            await self._refresh_if_possible(errand.deadline)
        sorted_places: dict[tuple[Node, bool], list[int]] = {}
        home = None
        for place, node, asking in errand.todo:
            if node is None:
                if clustered:
                    node = self._node_for(errand.commands[place].key)
                else:
                    home = home or self._home or await self._locate(errand.deadline)
                    node = home.node
            sorted_places.setdefault((node, asking), []).append(place)
        parcels = []
        for (node, asking), places in sorted(sorted_places.items()):
            before = ASKING if asking else b""
            data = b"".join([before + pack(errand.commands[place].args) for place in places])
            parcel = Parcel(self._group(node), data, places, asking)
            if self._is_shunned(node):
                parcel.error = RedisUnavailable(f"{node} has failed less than {PENALTY} s ago")
            parcels.append(parcel)
        return parcels

    def _group(self, node: Node) -> Connections:
        group = self._groups.get(node)
        if group is None:
            group = self._groups.setdefault(
                node, Connections(node, self._kit, self._limit, primary=bool(self._sentinels))
            )
            if self._closed:
                group.close()
        return group

    def _keep_only(self, nodes: Iterable[Node]) -> None:
        for node in self._groups.keys() - set(nodes):
            group = self._groups.pop(node, None)
            if group is not None:
                group.close()

    # ------------------------------------------------------------------ a cluster

    def _node_for(self, key: bytes | None) -> Node:
        topology = self._topology
        assert topology is not None
        if key is None:
            return next((each for each in topology.primaries if each not in self._down), topology.primaries[0])
        node = topology.slots[key_slot(key)]
        if node is None:
            self._stale = True
            raise RedisUnavailable(f"no node of the cluster serves the slot {key_slot(key)}")
        return node

    def _is_shunned(self, node: Node) -> bool:
        until = self._down.get(node)
        if until is None:
            return False
        now = time.monotonic()
        if now < until:
            return True
        self._down[node] = now + PENALTY  # this one looks whether it is back
        return False

    async def _moved(self, error: AskError, asked: Node, deadline: float) -> None:
        if not self._address.clustered:  # what was taken for a single server is a cluster's node
            self._address.kind = "cluster"
            self._home = None
        if self._topology is not None:
            self._topology.slots[error.slot_id] = target(error, asked, self._address.remap)
        await self._refresh_if_possible(deadline, REFRESH)
        if self._topology is not None:
            # The node that was asked for the topology may not have heard of it yet.
            self._topology.slots[error.slot_id] = target(error, asked, self._address.remap)

    async def _refresh_if_possible(self, deadline: float, pause: float = TROUBLE) -> None:
        try:
            await self._refresh(deadline, pause)
        except (RedisUnavailable, RedisError, OSError):
            if self._topology is None:
                raise

    async def _refresh(self, deadline: float, pause: float) -> None:
        """Read the topology anew, unless somebody has just done so."""
        seen = self._generation
        if self._topology is not None and time.monotonic() - self._refreshed < pause:
            return
        async with self._kit.turn(deadline) as mine:
            if not mine or self._generation != seen:
                if self._topology is None:
                    raise RedisUnavailable("who serves the slots of the cluster is not known yet")
                return
            self._refreshed = time.monotonic()
            known = self._topology
            nodes = dict.fromkeys(
                (*known.primaries, *known.replicas, *self._address.nodes) if known else self._address.nodes
            )
            candidates = sorted(nodes, key=lambda node: (node in self._down, random.random()))
            cause: Exception | None = None
            for index, node in enumerate(candidates):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                try:
                    reply = await self._query(self._group(node), CLUSTER_SLOTS, left / (len(candidates) - index))
                    topology = read_topology(reply, node, self._address.remap)
                except Exception as error:
                    if isinstance(error, Exhausted):
                        cause = cause or error
                        continue
                    cause = error
                    self._down[node] = time.monotonic() + PENALTY
                    continue
                self._topology = topology
                self._generation += 1
                self._stale = False
                self._keep_only((*topology.primaries, *topology.replicas, *self._address.nodes))
                return
        kind = Exhausted if isinstance(cause, Exhausted) else RedisUnavailable
        raise kind("no node tells who serves the slots of the cluster") from cause

    async def _query(self, connections: Connections, data: bytes, seconds: float) -> Any:
        """Ask one server one thing, within so many seconds."""
        parcel = Parcel(connections, data, (0,))
        await self._kit.within(seconds, self._exchange((parcel,), time.monotonic() + seconds))
        if parcel.error is not None:
            raise parcel.error
        reply = parcel.replies[0]
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    # ------------------------------------------------------------------ sentinels

    async def _locate(self, deadline: float) -> Connections:
        """Ask the sentinels who is the primary, unless somebody has just done so."""
        async with self._kit.turn(deadline) as mine:
            home = self._home
            if home is not None:
                return home
            if not mine:
                raise RedisUnavailable("who is the primary is not known yet")
            cause: Exception | None = None
            candidates = list(self._sentinels)
            for index, sentinel in enumerate(candidates):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                era = self._era
                try:
                    # Half of what is left is for the primary.
                    reply = await self._query(
                        sentinel, self._address.sentinel_query, left / 2 / (len(candidates) - index)
                    )
                    node = self._address.read_sentinel(reply)
                    group = self._group(node)
                    role = await self._query(group, ROLE, (deadline - time.monotonic()) / 2)
                    if role[0] != b"master":
                        raise RedisUnavailable(f"{node} is a replica, though a sentinel calls it the primary")
                except BaseException as error:
                    # It is asked last the next time, even if there is no time left for another one now.
                    self._sentinels.sort(key=lambda each, failed=sentinel: each is failed)  # type: ignore[misc]
                    if not isinstance(error, Exception):
                        raise
                    cause = error
                    continue
                self._keep_only([node])
                self._home = group
                if self._era is not era:
                    # They may have answered before it changed. That will do for this call, which had begun before, too.
                    self._home = None
                return group
        raise RedisUnavailable("no sentinel names a primary that answers") from cause
