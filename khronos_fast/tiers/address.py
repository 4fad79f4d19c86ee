"""Where a Redis is, taken from a URL or from a client of redis-py. And what of it may be shown: never the password.

A client lends what it knows: hosts, credentials, TLS, database. It is not used itself, as its time-outs and retries are
made for commands that must succeed, while ours must be over in a moment.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, unquote

try:
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio import RedisCluster as AsyncCluster
    from redis.asyncio.connection import SSLConnection as AsyncSSLConnection
    from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixDomainSocketConnection
    from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
    from redis.client import Redis as SyncRedis
    from redis.cluster import RedisCluster as SyncCluster
    from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_ssl_verify_flags
    from redis.exceptions import ReadOnlyError, RedisError
    from redis.exceptions import TimeoutError as RedisTimeout
    from redis.maint_notifications import MaintNotificationsConfig
    from redis.sentinel import SentinelConnectionPool
except ImportError as error:
    raise ImportError(
        f"Redis is reached by redis-py 8.1 or later: pip install 'khronos-fast[redis]' ({error})"
    ) from error

from khronos_fast.databases.url import mask
from khronos_fast.tiers.command import Node
from khronos_fast.tiers.errors import RedisUnavailable, RedisURLError
from khronos_fast.tiers.wire import Packer, pack, rubbish, unavailable

WANTED = "redis://user:password@host:6379/0, rediss:// for TLS, unix:///path, or redis+cluster://host:7000,host:7001"
PORT = 6379

# What is taken over from a client or a URL into the connections. `ssl_` options too, those of OCSP for threads only.
_TAKEN = {
    "client_name",
    "credential_provider",
    "db",
    "encoding",
    "encoding_errors",
    "password",
    "socket_keepalive",
    "socket_keepalive_options",
    "socket_read_size",
    "socket_type",
    "username",
}
_OCSP = {"ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "ssl_ocsp_context", "ssl_ocsp_expected_cert"}
_TLS = {
    "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers",
    "ssl_exclude_verify_flags", "ssl_include_verify_flags", "ssl_keyfile", "ssl_min_version", "ssl_password",
}  # fmt: skip
# What a URL for redis-py may say that is ours to decide.
_IGNORED = {
    "decode_responses", "health_check_interval", "legacy_responses", "max_connections", "protocol", "retry_on_error",
    "retry_on_timeout", "socket_connect_timeout", "socket_timeout", "timeout",
}  # fmt: skip
_OURS: dict[str, Any] = {
    "decode_responses": False,
    "driver_info": None,  # two round trips
    "health_check_interval": 0,
    "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    "protocol": 3,
    "socket_connect_timeout": None,  # the whole call is bounded
    "socket_timeout": None,
}
_TCP_ONLY = ("socket_keepalive", "socket_keepalive_options", "socket_type")


@dataclass(eq=False)
class Address:
    """How to reach a Redis.

    >>> Address.of("redis://ada:secret@cache.example/2")
    <Address redis://ada:***@cache.example:6379/2>
    """

    kind: Literal["single", "cluster", "sentinel"]
    nodes: tuple[Node, ...]
    """The server; or some of a cluster, who know the others; with sentinels none."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What a connection is made with, but for where to; `tls` says whether TLS is spoken."""
    sentinels: tuple[Node, ...] = ()
    sentinel_settings: dict[str, Any] = field(default_factory=dict)
    service: str = ""
    """By which name the sentinels know the primary."""
    quorum: int = 0
    """How many others a sentinel must know, to be believed."""
    forced_host: str | None = None
    """Where the primary is, whatever host the sentinels say."""
    remap: Callable[[tuple[str, int]], tuple[str, int]] | None = None
    """From the addresses that a cluster's nodes give to those that work from here."""
    on_connect: Any = None
    """The client's own handshake."""
    asynchronous: bool = False
    """Whether the client's own handshake is for tasks."""

    @property
    def clustered(self) -> bool:
        """Whether there are many servers, each with a part of the keys.

        One that is known by one server's address may turn out to be such: whoever finds that out changes the kind.
        """
        return self.kind == "cluster"

    @classmethod
    def of(cls, source: Any) -> Address:
        """Take apart a URL, or a client of redis-py.

        Raises RedisURLError for a URL that is none, TypeError for what is neither.
        """
        if isinstance(source, str):
            return _of_url(source)
        if isinstance(source, (SyncRedis, AsyncRedis)):
            return _of_client(source)
        if isinstance(source, (SyncCluster, AsyncCluster)):
            return _of_cluster(source)
        raise TypeError(f"redis must be a URL ({WANTED}) or a client of redis-py, not {type(source).__name__}")

    def __str__(self) -> str:
        """All but the secrets, as a URL."""
        user = quote(self.settings.get("username") or "", safe="")
        if self.settings.get("password"):
            user += ":***"
        user += "@" if user else ""
        database = f"/{self.settings['db']}" if self.settings.get("db") else ""
        if self.kind == "sentinel":
            return f"{user}{self.service}{database} (by the sentinels {', '.join(map(str, self.sentinels))})"
        if not self.nodes[0].port:
            return f"unix://{user}{self.nodes[0].host}{database and '?db=' + database[1:]}"
        scheme = ("rediss" if self.settings.get("tls") else "redis") + ("+cluster" if self.kind == "cluster" else "")
        return f"{scheme}://{user}{','.join(map(str, self.nodes))}{database}"

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def options(self, node: Node, *, sentinel: bool = False, asynchronous: bool = False) -> dict[str, Any]:
        """What a connection of redis-py to this node is made with, and `tls`."""
        settings = self.sentinel_settings if sentinel else self.settings
        options = {**settings, **_OURS}
        if node.port:
            options["host"], options["port"] = node
        else:
            options["path"] = node.host
            for name in _TCP_ONLY:
                options.pop(name, None)
        if not asynchronous:
            options["command_packer"] = Packer()
        else:
            for name in _OCSP & options.keys():
                if options.pop(name):
                    raise RedisURLError(
                        f"{name} is known to redis-py in threads only; leave it out, or use TieredCache"
                    )
        if self.on_connect is not None and self.asynchronous == asynchronous and not sentinel:
            options["redis_connect_func"] = self.on_connect
        return options

    # ------------------------------------------------------------------ sentinels

    @property
    def sentinel_query(self) -> bytes:
        """What a sentinel is asked."""
        return pack((b"SENTINEL", b"MASTER", self.service))

    def read_sentinel(self, reply: Any) -> Node:
        """Where the primary is, by a sentinel's reply; RedisUnavailable if it says that there is none."""
        if isinstance(reply, list):
            reply = dict(zip(reply[::2], reply[1::2], strict=True))
        if not isinstance(reply, Mapping):
            raise RedisUnavailable("a sentinel does not talk as one does")
        flags = reply.get(b"flags", b"").split(b",")
        down = {b"s_down", b"o_down"} & set(flags)
        if b"master" not in flags or down:
            raise RedisUnavailable(f"the primary of {self.service!r} is down, a sentinel says")
        if int(reply.get(b"num-other-sentinels", 0)) < self.quorum:
            raise RedisUnavailable("a sentinel knows too few others to be believed")
        return Node(self.forced_host or reply[b"ip"].decode(), int(reply[b"port"]))

    # ------------------------------------------------------------------ whether it works

    def check(self, seconds: float = 1.0) -> None:
        """Connect and ask for a sign of life, within so many seconds; find out whether it is a cluster.

        Raises RedisUnavailable if there is none, RedisURLError if what answers is a sentinel.
        """
        from khronos_fast.tiers.link import Link, greet  # which imports this module

        deadline = time.monotonic() + seconds
        try:
            if self.kind == "single":
                greeting = greet(self, self.nodes[0], deadline)
                mode = greeting.get(b"mode")
                if mode == b"sentinel":
                    raise RedisURLError(
                        f"{self} is a sentinel, which holds no keys; give the client of the primary that it looks "
                        f"after: redis.sentinel.Sentinel([...]).master_for('its name')"
                    )
                if mode == b"cluster":
                    self.kind = "cluster"
                elif greeting.get(b"role") in (b"replica", b"slave"):
                    raise ReadOnlyError
        except (RedisError, OSError) as error:
            raise self._with_advice(unavailable(rubbish(error), self, seconds), error) from error
        except (AttributeError, TypeError, ValueError) as error:
            if isinstance(error, RedisURLError):
                raise
            raise unavailable(rubbish(error), self, seconds) from error
        link = Link(self, max(deadline - time.monotonic(), 0.001), 1)
        try:
            link.ping()
        finally:
            link.close()

    def _with_advice(self, error: RedisUnavailable, cause: Exception) -> RedisUnavailable:
        text = str(cause)
        if self.settings.get("tls") and ("SSL" in text or isinstance(cause, RedisTimeout)) and "VERIFY" not in text:
            advice = "does it speak TLS? without, the URL begins with redis://"
        elif "closed by server" in text or "reset" in text or "104" in text:
            advice = "does it want TLS? then the URL begins with rediss://"
        else:
            return error
        return RedisUnavailable(f"{error} ({advice})")


# ---------------------------------------------------------------------- clients


def _settings_of(given: Mapping[str, Any], tls: bool) -> dict[str, Any]:
    """What of the arguments of a connection is taken over."""
    wanted = _TAKEN | _TLS | _OCSP if tls else _TAKEN
    settings = {name: value for name, value in given.items() if name in wanted and value is not None}
    return {**settings, "tls": True} if tls else settings


def _is_tls(connection_class: Any) -> bool:
    return issubclass(connection_class, (SSLConnection, AsyncSSLConnection))


def _place_of(pool: Any) -> Node:
    given = pool.connection_kwargs
    if issubclass(pool.connection_class, (UnixDomainSocketConnection, AsyncUnixDomainSocketConnection)):
        return Node(given.get("path", ""), 0)
    return Node(given.get("host", "localhost"), int(given.get("port", PORT)))


def _of_client(client: Any) -> Address:
    pool = client.connection_pool
    given, made_by = pool.connection_kwargs, pool.connection_class
    if not made_by._connect.__module__.startswith("redis."):
        raise TypeError(f"the client's connections ({made_by.__name__}) are not redis-py's own, so none can be made")
    handshake = given.get("redis_connect_func")
    settings = _settings_of(given, _is_tls(made_by))
    if not isinstance(pool, (SentinelConnectionPool, AsyncSentinelConnectionPool)):
        return Address(
            "single", (_place_of(pool),), settings, on_connect=handshake, asynchronous=isinstance(client, AsyncRedis)
        )
    if not pool.is_master:
        raise RedisURLError(
            "the client is one of replicas, which can't be written to; give that of Sentinel.master_for"
        )
    manager = pool.sentinel_manager
    pools = [each.connection_pool for each in manager.sentinels]
    return Address(
        "sentinel",
        (),
        settings,
        tuple(map(_place_of, pools)),
        _settings_of(pools[0].connection_kwargs, _is_tls(pools[0].connection_class)),
        pool.service_name,
        manager.min_other_sentinels,
        manager._force_master_ip,
        on_connect=handshake,
        asynchronous=isinstance(client, AsyncRedis),
    )


def _of_cluster(client: Any) -> Address:
    manager = client.nodes_manager
    given = manager.connection_kwargs
    made_by = given.get("connection_class")
    tls = bool(given.get("ssl")) or (made_by is not None and _is_tls(made_by))
    nodes = dict.fromkeys(Node(each.host, int(each.port)) for each in manager.startup_nodes.values())
    settings = _settings_of(given, tls)
    settings.pop("db", None)
    return Address("cluster", tuple(nodes), settings, remap=manager.address_remap)


# ---------------------------------------------------------------------- URLs


def _refusal(url: str, why: str) -> RedisURLError:
    # Nothing of an option but its name, and nothing of what a # begins: it may be a password in the wrong place.
    shown = re.sub(r"([?&][^=&#]*=)[^&#]*", r"\1***", mask(url))
    shown = re.sub(r"([?&])[^=&#]+(?=[&#]|\Z)", r"\1***", shown)
    shown = re.sub(r"(?s)#.+", "#***", shown)
    return RedisURLError(f"{shown!r} {why}; wanted is {WANTED}")


def _decoded(url: str, text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise _refusal(url, "has a % that is not followed by two hexadecimal digits (the character itself is %25)")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = "\0"
    if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", decoded):
        raise _refusal(url, "holds something that is no text")
    return decoded


def _of_url(url: str) -> Address:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", url)
    scheme = found[1].lower() if found else ""
    if found is None or scheme not in ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster"):
        raise _refusal(url, "is no URL of a Redis")
    place, _, query = url[found.end() :].partition("?")
    if "#" in place or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise _refusal(url, "holds a # or a blank (in a password they are %23 and %20)")
    user, _, place = place.rpartition("@")
    if "@" in user or ("/" in user and scheme != "unix"):
        raise _refusal(url, "has an @ or a / in the wrong place (in a password they are %40 and %2F)")
    tls = scheme.startswith("rediss")
    settings: dict[str, Any] = {"tls": True} if tls else {}
    name, colon, password = user.partition(":")
    if name:
        settings["username"] = _decoded(url, name)
    if colon and password:
        settings["password"] = _decoded(url, password)
    clustered = scheme.endswith("+cluster")
    if scheme == "unix":
        path = _decoded(url, place)
        if not path.startswith("/"):
            raise _refusal(url, "names no absolute path of a socket")
        nodes = [Node(path, 0)]
    else:
        hosts, _, database = place.partition("/")
        nodes = [_read_host(url, each) for each in hosts.split(",")]
        if len(nodes) > 1 and not clustered:
            raise _refusal(url, "names several hosts, which is for a cluster (redis+cluster://)")
        if database:
            settings["db"] = _read_database(url, _decoded(url, database))
    _read_options(url, query, settings, tls)
    if clustered and settings.get("db"):
        raise _refusal(url, "names a database, of which a cluster has only the one, 0")
    return Address("cluster" if clustered else "single", tuple(dict.fromkeys(nodes)), settings)


def _read_host(url: str, text: str) -> Node:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+(?:%25[\w.-]+)?)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text)
    if not found:
        raise _refusal(url, "has no host, or a port that is no number, or an address of IPv6 without [ and ]")
    port = int(found[3] or PORT)
    if not 0 < port < 65536:
        raise _refusal(url, "has a port that is no number from 1 to 65535")
    return Node(_decoded(url, found[1] or found[2]), port)


def _read_database(url: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise _refusal(url, "names a database that is no number")
    return int(text)


def _read_options(url: str, query: str, settings: dict[str, Any], tls: bool) -> None:
    for pair in query.split("&") if query else ():
        name, equals, value = pair.partition("=")
        name, value = _decoded(url, name), _decoded(url, value.replace("+", " "))
        if not equals or not value:
            raise _refusal(url, "has options that are not written name=value")
        if name in _IGNORED:
            continue
        if name in _TLS and not tls:
            raise _refusal(url, f"has the option {name}, which wants rediss://")
        if name == "db":
            database = _read_database(url, value)
            if settings.get("db", database) != database:
                raise _refusal(url, "names two databases")
            settings["db"] = database
        elif name in ("username", "password", "client_name") or (name in _TLS and name not in _READ):
            if settings.get(name, value) != value:
                raise _refusal(url, f"gives two of {name}")
            settings[name] = value
        elif name in _READ:
            try:
                settings[name] = _READ[name](value)
            except (TypeError, ValueError, KeyError, AttributeError):
                raise _refusal(url, f"gives {name} something that it can't be") from None
        else:
            raise _refusal(url, f"has an option {name!r} that is not known")


def _read_bool(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}[
        text.lower()
    ]


def _read_requirement(text: str) -> str:
    if text not in ("none", "optional", "required"):
        raise ValueError(text)
    return text


def _read_tls_version(text: str) -> Any:
    import ssl

    return ssl.TLSVersion(int(text)) if text.isdigit() else ssl.TLSVersion[text]


_READ: dict[str, Callable[[str], Any]] = {
    "socket_keepalive": _read_bool,
    "ssl_cert_reqs": _read_requirement,
    "ssl_check_hostname": _read_bool,
    "ssl_exclude_verify_flags": parse_ssl_verify_flags,
    "ssl_include_verify_flags": parse_ssl_verify_flags,
    "ssl_min_version": _read_tls_version,
}
