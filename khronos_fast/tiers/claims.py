"""How a load gets hold of what lets it fill Redis later: a fence.

Where there is nothing, the look itself has left a token. Another's token serves as well, as whoever writes or deletes
takes that away too; but with `lease` one waits for that one's value. What is to be refreshed is given a mark that
nobody else has seen, so that nothing which began before, or lies there by chance once more, is taken for what was seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from khronos_fast.tiers import commands
from khronos_fast.tiers.errors import RedisUnavailable
from khronos_fast.tiers.payload import (
    BARE,
    NO_STRING,
    PREFIX,
    Entry,
    Fence,
    mark_of,
    new_header,
    new_token,
    token_fence,
)
from khronos_fast.tiers.rules import Known, Rules, now
from khronos_fast.tiers.steps import Ask, Pause, Plan

if TYPE_CHECKING:
    from khronos_fast.tiers.command import Command

SHORTEST_PAUSE, LONGEST_PAUSE = 0.002, 0.05
"""Seconds between two looks at the token of another process."""
MOST_LEADERS = 2
"""For how many of them one waits, each at most `lease` seconds; then it loads by itself."""
MOST_LOST = 8
"""How often what was seen may be gone when it is to be replaced; then the load is not kept in Redis."""


class Undo(NamedTuple):
    """What is put before a value again, and by how much its life is shortened, when a load has failed."""

    header: bytes
    longer_ms: int


AS_IT_WAS = Undo(b"", 0)


class Claim(NamedTuple):
    """What Redis has said to a load."""

    found: Known | None = None
    """A value that will do."""
    fence: Fence | None = None
    """What it is to find again when it fills; None: it does not fill."""
    behind: Known | None = None
    """A value that will do if the load fails."""
    undo: Undo | None = None
    """The fence was put there for this load alone: if it fails, this is how it takes that away."""
    answered: bool = True


NOT_ASKED = Claim()
OUT_OF_REACH = Claim(answered=False)


class _Look(NamedTuple):
    """One look at a key. With a claim, that is all there is to say."""

    since: float
    token: bytes
    claim: Claim | None = None
    entry: Entry = NO_STRING
    known: Known | None = None
    pttl: int = -1

    @property
    def is_over(self) -> bool:
        """Whether a bare value has come to its end between the two commands: there is nothing by now."""
        return self.known is not None and self.known.fresh <= 0 and self.entry.fence.mode in BARE


def claim(rules: Rules, key: bytes, forced: bool) -> Plan[Claim]:
    """Find the value, or the right to fill. `forced`: the right to fill, whatever there is."""
    try:
        return (yield from (_take(rules, key) if forced else _find(rules, key)))
    except RedisUnavailable:
        return OUT_OF_REACH


def _find(rules: Rules, key: bytes) -> Plan[Claim]:
    lease = rules.settings.lease
    line = _Line(rules, lease or 0.0)
    behind = None
    for _ in range(MOST_LOST):
        look = yield from _look(rules, key)
        while look.claim is None and lease is not None and look.entry.is_token and line.is_to_wait(look):
            yield Pause(line.pause())
            look = yield from _look(rules, key)
        if look.claim is not None:
            return look.claim
        behind = look.known
        if look.is_over:
            yield Pause(0.001)
            continue
        if behind is not None and behind.fresh > 0:
            return Claim(found=behind)
        if lease is None or (behind is None and not look.entry.is_token) or line.has_waited_enough:
            return Claim(fence=look.entry.fence, behind=behind)
        # Another one has taken too long, or the value is stale and nobody loads it yet.
        replace = commands.take_over(key, look.entry.fence, look.token, from_token=look.entry.is_token)
        if (yield from _send(replace)):
            return Claim(fence=token_fence(look.token), behind=behind, undo=AS_IT_WAS)
    return Claim(behind=behind)


def _take(rules: Rules, key: bytes) -> Plan[Claim]:
    behind = None
    for _ in range(MOST_LOST):
        look = yield from _look(rules, key)
        if look.claim is not None:
            return look.claim._replace(found=None)
        behind = look.known
        if look.is_over:
            yield Pause(0.001)
            continue
        if not look.entry.is_token and behind is None:
            return Claim(fence=look.entry.fence)
        undo = AS_IT_WAS
        if look.entry.is_token:
            own = token_fence(look.token)
            script = commands.take_over(key, look.entry.fence, look.token, from_token=True)
        else:
            script, own, undo = _mark(rules, key, look)
        if (yield from _send(script)):
            return Claim(fence=own, behind=behind, undo=undo)
    return Claim(behind=behind)


def _mark(rules: Rules, key: bytes, look: _Look) -> tuple[Command, Fence, Undo]:
    """Mark a value, so that the mark outlives a load: it lives on for that long, and is stale for as much more."""
    longer = 0 if look.pttl < 0 else max(commands.TOKEN_LIFE_MS - look.pttl, 0)
    entry = look.entry
    header = new_header(entry.stale + longer / 1e3, entry.delta)
    rules.note_token(key, mark_of(header))
    life = look.pttl + longer if longer else None
    script = commands.mark(key, entry.fence, header, instead_of=len(entry.header), life_ms=life)
    return script, Fence(PREFIX, header), Undo(entry.header, longer)


def _look(rules: Rules, key: bytes) -> Plan[_Look]:
    token = new_token()
    rules.note_token(key, token)
    since = now()
    raw, pttl = yield from rules.ask(key, commands.claim(key, token))
    if isinstance(raw, Exception):
        return _Look(since, token, (yield from _cope(rules, key, raw)))
    if raw is None or raw == token:  # (the latter where it had to be sent twice)
        return _Look(since, token, Claim(fence=token_fence(token), undo=AS_IT_WAS))
    entry, known = rules.decode(key, raw, pttl, since)
    return _Look(since, token, None, entry, known, pttl)


def _cope(rules: Rules, key: bytes, error: Exception) -> Plan[Claim]:
    """Redis has not taken the claim: there is no string there, or it is full, or this user may not write."""
    if str(error).startswith("WRONGTYPE"):
        rules.counters.add("undecodable")
        return Claim(fence=NO_STRING.fence)
    since = now()
    raw, pttl = yield from rules.ask(key, commands.read(key))
    known = rules.decode(key, raw, pttl, since)[1] if isinstance(raw, bytes) else None
    return Claim(found=known) if known is not None and known.fresh > 0 else Claim(behind=known)


def _send(script: Command) -> Plan[bool]:
    """Whether the key still held what it was to hold, and so holds something else now."""
    [reply] = yield Ask([script])
    if isinstance(reply, Exception):
        raise RedisUnavailable(f"Redis does not run scripts: {reply}")
    return bool(reply == commands.TAKEN)


class _Line:
    """Waiting for the loads of other processes, one after the other."""

    def __init__(self, rules: Rules, lease: float) -> None:
        self._rules = rules
        self._lease = lease
        self._leader = b""
        self._leaders = 0
        self._deadline = 0.0
        self._pause = SHORTEST_PAUSE

    @property
    def has_waited_enough(self) -> bool:
        return self._leaders >= MOST_LEADERS

    def is_to_wait(self, look: _Look) -> bool:
        if self._leader != look.entry.fence.mark:
            if self.has_waited_enough:
                return False
            self._leader = look.entry.fence.mark
            self._leaders += 1
            self._deadline = look.since + self._lease
            self._rules.counters.add("lease_waits")
        return look.since < self._deadline

    def pause(self) -> float:
        pause = min(self._pause, max(self._deadline - now(), SHORTEST_PAUSE))
        self._pause = min(self._pause * 1.5, LONGEST_PAUSE)
        return pause
