"""What both links agree on: how commands are written, where they go, and what an answer means.

Nothing here does I/O. A reply is an error *of one command* (its place in the answer holds it), a *redirection* (the
key lives, or is about to live, on another node), or a *refusal* (the server as a whole does not serve now).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    InvalidResponse,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout

from khronos_fast.tiers.command import Command, Node
from khronos_fast.tiers.errors import RedisUnavailable

try:
    from hiredis import pack_command
except ImportError:  # no wheel for this Python: the same in Python, at some microseconds a command
    pack_command = None  # type: ignore[assignment]

SLOTS = 16384
OLDEST = 7
"""The first major version of Redis that knows `SET … NX GET`."""


def pack(args: tuple[Any, ...]) -> bytes:
    r"""Write a command as it goes over the wire.

    >>> pack((b"SET", "key", 1))
    b'*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n1\r\n'
    """
    if pack_command is not None:
        packed: bytes = pack_command(args)
        return packed
    pieces = [b"*%d\r\n" % len(args)]
    for each in args:
        if isinstance(each, str):
            each = each.encode()
        elif isinstance(each, (int, float)) and not isinstance(each, bool):
            each = repr(each).encode()
        elif not isinstance(each, bytes):
            raise TypeError(f"a command is made of bytes, str, int and float, not {type(each).__name__}")
        pieces.append(b"$%d\r\n%b\r\n" % (len(each), each))
    return b"".join(pieces)


class Packer:
    """Writes what redis-py sends to set up a connection: numbers as text, as hiredis 3.5 crashes where the handler of a
    signal raises while it makes text of one.
    """

    def pack(self, *args: Any) -> list[bytes]:
        """Return the command, in pieces to be sent."""
        return [pack(tuple(repr(each) if isinstance(each, (int, float)) else each for each in args))]


ROLE = pack((b"ROLE",))


# ---------------------------------------------------------------------- what an answer means


class Verdict(enum.Enum):
    """What is to be done about an error in a command's place."""

    ANSWER = enum.auto()  # it is the answer
    MOVED = enum.auto()  # ask the node that it names, now and from now on
    ASK = enum.auto()  # ask the node that it names, this once
    AGAIN = enum.auto()  # ask again in a moment: the keys are on their way
    REFUSED = enum.auto()  # the server does not serve now


# Errors that redis-py has no class for, by the word they begin with. MISCONF and NOREPLICAS refuse every write.
_REFUSALS = ("BUSY ", "MISCONF ", "NOREPLICAS ", "UNBLOCKED ")


def verdict(error: ResponseError) -> Verdict:
    """Judge an error that a server gave instead of a reply.

    >>> verdict(MovedError("3999 10.0.0.7:6381"))
    <Verdict.MOVED: 2>
    """
    match error:
        case MovedError():  # which is an AskError too
            return Verdict.MOVED
        case AskError():
            return Verdict.ASK
        case TryAgainError():
            return Verdict.AGAIN
        case ReadOnlyError() | ClusterDownError():
            return Verdict.REFUSED
        case _:
            return Verdict.REFUSED if str(error).startswith(_REFUSALS) else Verdict.ANSWER


def is_dead(error: Exception) -> bool:
    """Whether the peer closed or reset the connection: not if it was slow, or talked rubbish."""
    return type(error) is RedisConnectionError or isinstance(error, (ConnectionError, BrokenPipeError, EOFError))


# ---------------------------------------------------------------------- what the topology is


class Topology(NamedTuple):
    """Who serves which slot of a cluster."""

    slots: list[Node | None]
    primaries: tuple[Node, ...]
    replicas: tuple[Node, ...]


def read_topology(reply: Any, asked: Node, remap: Any = None) -> Topology:
    """Read the reply to `CLUSTER SLOTS`. A node that gives no host for another means its own.

    >>> read_topology([[0, 16383, [b"", 7001, b"id"]]], Node("db.example", 7000)).primaries
    (Node(host='db.example', port=7001),)
    """
    slots: list[Node | None] = [None] * SLOTS
    primaries: dict[Node, None] = {}
    replicas: dict[Node, None] = {}
    try:
        for first, last, primary, *others in reply:
            node = _node(primary, asked, remap)
            primaries[node] = None
            slots[first : last + 1] = [node] * (last + 1 - first)
            replicas.update((_node(each, asked, remap), None) for each in others)
        if not primaries or len(slots) != SLOTS:
            raise ValueError("no slot is served")
    except (TypeError, ValueError, IndexError, UnicodeDecodeError) as error:
        raise RedisError(f"{asked} does not tell who serves the cluster's slots ({error})") from error
    return Topology(slots, tuple(primaries), tuple(replicas))


def _node(entry: Sequence[Any], asked: Node, remap: Any) -> Node:
    host = entry[0].decode() if isinstance(entry[0], bytes) else entry[0]
    node = Node(host if host and host != "?" else asked.host, int(entry[1]))
    return Node(*remap(tuple(node))) if remap else node


def target(error: AskError, asked: Node, remap: Any = None) -> Node:
    """The node that a redirection points to.

    >>> target(MovedError("3999 :6381"), Node("10.0.0.7", 6380))
    Node(host='10.0.0.7', port=6381)
    """
    node = Node(error.host.strip("[]") or asked.host, error.port)
    return Node(*remap(tuple(node))) if remap else node


# ---------------------------------------------------------------------- what is said of it

PING = Command(None, (b"PING",))


def pong(replies: list[Any], address: object) -> None:
    """Raise RedisUnavailable for what is no answer to a PING."""
    if replies != [b"PONG"]:
        raise RedisUnavailable(f"Redis at {address} does not answer a PING with PONG") from (
            replies[0] if isinstance(replies[0], Exception) else None
        )


def too_old(greeting: dict[Any, Any]) -> None:
    """Raise RedisUnavailable for a server of which the handshake shows that it is too old."""
    version = greeting.get(b"version", b"")
    major = version.partition(b".")[0] if isinstance(version, bytes) else b""
    if major.isdigit() and int(major) < OLDEST:
        raise RedisUnavailable(f"it is Redis {version.decode()}; version {OLDEST} or later, or Valkey, is needed")


def rubbish(error: Exception) -> Exception:
    """The error of an exchange, where it is one: what else a parser raises says that the peer is no Redis."""
    if isinstance(error, (RedisError, OSError)):
        return error
    found = RedisUnavailable(f"it does not talk as a Redis does ({error or type(error).__name__})")
    found.__cause__ = error
    return found


def unavailable(error: Exception, address: object, seconds: float) -> RedisUnavailable:
    """What a caller is told of an error.

    >>> unavailable(TimeoutError(), "localhost:6379", 0.25)
    RedisUnavailable('Redis at localhost:6379: no answer within 0.25 s')
    """
    match error:
        case TimeoutError() | RedisTimeout():
            reason = f"no answer within {seconds:g} s"
        case InvalidResponse():
            reason = f"it does not talk as a Redis does ({error})"
        case AuthenticationError():
            reason = f"it wants other credentials ({error})"
        case ReadOnlyError():
            reason = "it is a read-only replica; give the address of its primary"
        case ResponseError() if "HELLO" in str(error):
            reason = f"it is older than Redis {OLDEST}, which is needed ({error})"
        case _ if isinstance(error.__context__, (ConnectionRefusedError, FileNotFoundError)):
            reason = "connection refused: nobody listens there"
        case _:
            reason = str(error) or type(error).__name__
    # Exhausted stays what it is: the server is not to blame.
    kind = type(error) if isinstance(error, RedisUnavailable) else RedisUnavailable
    return kind(f"Redis at {address}: {reason}")
