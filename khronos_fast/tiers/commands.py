"""The commands that the tiers send, each with the key that decides where a cluster has it.

The scripts do what has to happen at once: to look whether a key still holds what a load has begun with, and to write.
Each is sent as it is (EVAL); the server keeps what it has compiled, and none is missing after a fail-over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from khronos_fast.tiers.command import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from khronos_fast.tiers.payload import Fence

# Whether what the key holds is what the caller has seen (payload.Fence). `now` is false where there is nothing, or
# nothing that a string could be.
_LOOK = b"""
local now = redis.pcall('GET', KEYS[1])
local mode, mark = ARGV[1], ARGV[2]
local same = false
if type(now) == 'table' then
  now = false
  same = mode == 'T'
elseif now then
  same = (mode == '=' and now == mark) or (mode == '^' and string.sub(now, 1, #mark) == mark)
    or (mode == '#' and redis.sha1hex(now) == mark)
end
"""

_FILL = (
    _LOOK
    + b"""
if not same then return 0 end
if ARGV[4] == '' then redis.call('SET', KEYS[1], ARGV[3]) else redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) end
return 1
"""
)

# A token takes the place of another one, or stands before a stale value, which then lives no longer than before.
_TAKE_OVER = (
    _LOOK
    + b"""
if not now then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  return 1
end
if not same then return 0 end
local behind = now
if ARGV[5] == '1' then behind = string.sub(now, #mark + 1) end
if behind == '' or string.byte(behind) ~= 0 then
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[3] .. behind, 'KEEPTTL')
end
return 1
"""
)

# A value is given a mark that no other write has, before it is refreshed.
_MARK = (
    _LOOK
    + b"""
if not same then return 0 end
local marked = ARGV[3] .. string.sub(now, tonumber(ARGV[4]) + 1)
if ARGV[5] == '' then redis.call('SET', KEYS[1], marked, 'KEEPTTL')
else redis.call('SET', KEYS[1], marked, 'PX', ARGV[5]) end
return 1
"""
)

# The load has failed: its token or mark goes, and what stands behind it is as it was.
_LET_GO = (
    _LOOK
    + b"""
if not same then return 0 end
local behind, longer = string.sub(now, #mark + 1), tonumber(ARGV[4])
local left = redis.call('PTTL', KEYS[1]) - longer
if behind == '' or (longer > 0 and left <= 0) then redis.call('DEL', KEYS[1])
elseif longer > 0 then redis.call('SET', KEYS[1], ARGV[3] .. behind, 'PX', left)
else redis.call('SET', KEYS[1], ARGV[3] .. behind, 'KEEPTTL') end
return 1
"""
)

TEXT = (bytes, type(None))
"""What a reply is that is the value of a key."""
TOKEN_LIFE_MS = 300_000
"""How long a token of a load stays if nobody takes it away. A load that takes longer is not kept in Redis."""
TAKEN, REFUSED = 1, 0
"""What the scripts return."""


def read(key: bytes) -> list[Command]:
    """Ask for what a key holds and for how long it still does."""
    return [_get(key), _pttl(key)]


def read_many(keys: Sequence[bytes], *, at_once: bool) -> list[Command]:
    """Ask the same of many keys: values first, then times. `at_once`: by one command, which a cluster has not."""
    values = [Command(keys[0], (b"MGET", *keys), list)] if at_once else [_get(key) for key in keys]
    return [*values, *map(_pttl, keys)]


def claim(key: bytes, token: bytes) -> list[Command]:
    """As `read`, and where there is nothing, leave a token."""
    return [
        Command(key, (b"SET", key, token, b"NX", b"GET", b"PX", b"%d" % TOKEN_LIFE_MS), TEXT),
        _pttl(key),
    ]


def fill(key: bytes, fence: Fence, raw: bytes, life_ms: int | None) -> Command:
    """Write, if the key still holds what the fence says: 1; else 0."""
    life = b"" if life_ms is None else b"%d" % life_ms
    return _script(_FILL, key, *fence, raw, life)


def take_over(key: bytes, fence: Fence, token: bytes, *, from_token: bool) -> Command:
    """Put one's own token in the place of another one, or before a stale value: 1; else 0."""
    return _script(_TAKE_OVER, key, *fence, token, b"%d" % TOKEN_LIFE_MS, b"1" if from_token else b"0")


def mark(key: bytes, fence: Fence, header: bytes, *, instead_of: int, life_ms: int | None) -> Command:
    """Put this before a value, instead of so many bytes of it: 1; else 0. `life_ms`: None: it lives as before."""
    life = b"" if life_ms is None else b"%d" % life_ms
    return _script(_MARK, key, *fence, header, b"%d" % instead_of, life)


def let_go(key: bytes, fence: Fence, header: bytes, longer_ms: int) -> Command:
    """Take one's own token or mark away, put the old header there again, and take back what was added to the life."""
    return _script(_LET_GO, key, *fence, header, b"%d" % longer_ms)


def write(key: bytes, raw: bytes, life_ms: int | None) -> Command:
    """Write, whatever there is."""
    life: tuple[bytes, ...] = () if life_ms is None else (b"PX", b"%d" % life_ms)
    return Command(key, (b"SET", key, raw, *life), bytes)


def delete(key: bytes) -> list[Command]:
    """Delete; what the key began with tells whether there was a value or only a token."""
    return [Command(key, (b"GETRANGE", key, b"0", b"63"), bytes), unlink(key)]


def unlink(*keys: bytes) -> Command:
    """Delete, and do not ask what. A cluster wants all of them in one slot."""
    return Command(keys[0], (b"UNLINK", *keys), int)


def scan(cursor: bytes, pattern: bytes) -> Command:
    """Ask for the next thousand keys or so, of which it sends those that match."""
    return Command(None, (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"1000"), list)


def _script(source: bytes, key: bytes, *arguments: Any) -> Command:
    return Command(key, (b"EVAL", source, b"1", key, *arguments), int)


def _get(key: bytes) -> Command:
    return Command(key, (b"GET", key), TEXT)


def _pttl(key: bytes) -> Command:
    return Command(key, (b"PTTL", key), int)
