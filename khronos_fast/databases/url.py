"""Where a database is: a URL, taken apart. And what of it may be shown, as it may hold a password.

A URL that can't be understood may be a password in the wrong place, so what is shown of it is chosen the other way
round: everything that might be one is left out.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from khronos_fast._core.errors import KhronosError
from khronos_fast.databases.errors import DatabaseURLError

DEFAULT = "sqlite:///state.db"
VARIABLE = "DATABASE_URL"
WANTED = (
    "sqlite:///relative.db, sqlite:////absolute.db, sqlite:///:memory: or postgresql://user:password@host:5432/database"
)
SHORT = 4
"""A shorter secret is not looked for in texts: it is a part of half the words, and starred out it would be told."""


@dataclass(frozen=True, slots=True)
class SQLiteURL:
    """An SQLite database: a file, or memory."""

    path: str | None
    """Of the file, absolute; None for memory."""
    shown: str


@dataclass(frozen=True, slots=True)
class PostgresURL:
    """A PostgreSQL database, in the terms of libpq."""

    parameters: dict[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """All passwords, as they are written and as they are meant, the longest first."""
    shown: str
    source: str = field(repr=False)
    """How a message refers to the URL."""


def parse(url: str | None) -> SQLiteURL | PostgresURL:
    """Take a URL apart; without one, that of the environment; without that either, the default one.

    Raises DatabaseURLError for what is no URL of a database, TypeError for what is no text.

    >>> parse("sqlite:////var/lib/state.db").path
    '/var/lib/state.db'
    >>> parse("postgresql://ada:secret@localhost/accounts").shown
    'postgresql://ada:***@localhost/accounts'
    """
    source = ""
    if url is None:
        url = os.environ.get(VARIABLE) or None
        source = f"{VARIABLE} is set to "
    if url is None:
        url, source = DEFAULT, ""
    if not isinstance(url, str):
        raise TypeError(f"url must be a str such as {DEFAULT!r}, or None, not {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    source += repr(mask(url))
    if separator and scheme == "sqlite":
        return _parse_sqlite(rest, source)
    if separator and scheme in ("postgresql", "postgres"):
        return _parse_postgres(rest, source)
    hint = ""
    if separator and scheme.startswith(("sqlite+", "postgresql+", "postgres+")):
        hint = "; leave out the name of the driver"
    raise _refusal(source, "is no URL of a database that this package knows", hint)


def _refusal(source: str, why: str, hint: str = "") -> DatabaseURLError:
    return DatabaseURLError(f"{source} {why}; wanted is {WANTED}{hint}")


# ---------------------------------------------------------------------- SQLite


def _parse_sqlite(rest: str, source: str) -> SQLiteURL:
    if not rest:
        return SQLiteURL(None, "sqlite:///:memory:")
    host, slash, path = rest.partition("/")
    if host or not slash:
        raise _refusal(source, "names a host, which SQLite has none of (a path comes after three slashes)")
    if "?" in path:
        raise _refusal(source, "has options after a question mark, of which there are none here (in a name it is %3F)")
    path = _decoded(path, source)
    if re.search(r"[\x00-\x1f\x7f]", path):
        raise _refusal(source, "holds a control character, such as the end of a line")
    if path == ":memory:":
        return SQLiteURL(None, "sqlite:///:memory:")
    if not path:
        raise _refusal(source, "names no file")
    absolute = os.path.abspath(path)
    folder = os.path.dirname(absolute)
    if not os.path.isdir(folder):
        raise _refusal(source, f"is in a directory that does not exist, {folder!r}; make it first")
    if os.path.isdir(absolute) or path.endswith(("/", os.sep)):
        raise _refusal(source, "is a directory, not a file")
    return SQLiteURL(absolute, f"sqlite:///{absolute}")


def _decoded(text: str, source: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise _refusal(source, "has a % that is not followed by two hexadecimal digits (the character itself is %25)")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = "\0"
    if "\0" in decoded:
        raise _refusal(source, "holds something that is no text")
    return decoded


# ---------------------------------------------------------------------- PostgreSQL

# What libpq reads as numbers, but only when it connects.
_NUMBERS = {
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
}
_SECRET = re.compile(r"pass|pwd|secret|token|scram_.*_key", re.IGNORECASE)


def _parse_postgres(rest: str, source: str) -> PostgresURL:
    # As libpq does it: what comes before the first @ names the user, if that is before the first slash.
    parameters: dict[str, str] = {}
    secrets: set[str] = set()
    user, at, after = rest.partition("@")
    if not at or "/" in user:
        user, after = "", rest
    if "@" in re.split(r"\?", after, maxsplit=1)[0] or (not user and at and "@" in after):
        raise _refusal(source, "has an @ in the wrong place (in a password it is %40, and a slash is %2F)")
    place, _, query = after.partition("?")
    hosts, _, database = place.partition("/")
    name, colon, password = user.partition(":")
    if name:
        parameters["user"] = _decoded(name, source)
    if colon and password:
        parameters["password"] = _decoded(password, source)
        secrets.add(password)
    _read_hosts(hosts, parameters, source)
    if database:
        parameters["dbname"] = _decoded(database, source)
    for pair in query.split("&") if query else ():
        key, equals, value = pair.partition("=")
        key = _decoded(key, source)
        if not equals or not key:
            raise _refusal(source, "has options that are not written name=value")
        if _SECRET.search(key):
            secrets.add(value)
        value = _decoded(value, source)
        if _SECRET.search(key):
            secrets.add(value)
        if (key, value) == ("ssl", "true"):
            key, value = "sslmode", "require"
        if key in _NUMBERS and not re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value):
            raise _refusal(source, f"gives {key} something that is no number")
        parameters[key] = value
    secrets.add(parameters.get("password", ""))
    others = {value for key, value in parameters.items() if not _SECRET.search(key)}
    # A password that is the user's or the database's name too could not be hidden by hiding those.
    hidden = sorted((text for text in secrets if len(text) >= SHORT and text not in others), key=len, reverse=True)
    return PostgresURL(parameters, tuple(hidden), _show(parameters), source)


def _read_hosts(text: str, parameters: dict[str, str], source: str) -> None:
    names, ports = [], []
    for each in text.split(","):
        found = re.fullmatch(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::(.*))?", each, re.DOTALL)
        if not found:
            raise _refusal(source, "has a host that is none")
        address, name, port = found.groups()
        port = _decoded(port or "", source)
        if port and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
            raise _refusal(source, "has a port that is no number from 1 to 65535")
        names.append(_decoded(address or name or "", source))
        ports.append(port)
    if any(names):
        parameters["host"] = ",".join(names)
    if any(ports):
        parameters["port"] = ",".join(ports)


def _show(parameters: dict[str, str]) -> str:
    """A URL that means these parameters, without what is secret and without those that only tune."""
    user = quote(parameters.get("user", ""))
    if "password" in parameters:
        user += ":***"
    hosts = parameters.get("host", "").split(",")
    ports = parameters.get("port", "").split(",")
    ports += ports[:1] * (len(hosts) - len(ports))
    places = ",".join(
        (f"[{host}]" if ":" in host else quote(host, safe="")) + (port and f":{port}")
        for host, port in zip(hosts, ports, strict=False)
    )
    database = quote(parameters.get("dbname", ""), safe="")
    return f"postgresql://{user}{'@' if user else ''}{places}{database and '/'}{database}"


# ---------------------------------------------------------------------- what may be shown


def mask(url: str) -> str:
    """What may be shown of a text that may be a URL, or may hold a password somewhere else.

    >>> mask("mysql://ada:secret@host/db?token=secret")
    'mysql://ada:***@host/db?token=***'
    """
    scheme, rest = "", url
    found = re.match(r"\s*[A-Za-z][\w.+-]*:/{0,2}|[^@:/]*//", url)
    if found and ("/" in found[0] or found[0].lower() in ("sqlite:", "postgresql:", "postgres:")):
        scheme, rest = found[0], url[found.end() :]
    if "@" in rest:
        # A password may hold any character, so all up to the last @ may be one, but for a name at its beginning.
        before, _, after = rest.rpartition("@")
        name = re.match(r"[\w.-]*(?=:)", before)
        rest = f"{name[0] + ':' if name else ''}***@{after}" if name or not re.fullmatch(r"[\w.-]*", before) else rest
    elif not scheme.lower().startswith("sqlite"):
        # A password without a host reads as a port.
        rest = re.sub(r"\A([^/?:\[]*):(?!\d{1,5}(?:[/?,]|\Z))[^/?]*", r"\1:***", rest)
    rest = re.sub(r"([?&][^=&]*=)[^&]*", _masked_option, rest)
    rest = re.sub(r"(?i)(\w*(?:pass|pwd|secret|token)\w*\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]+)", r"\1***", rest)
    return scheme + rest


def _masked_option(found: re.Match[str]) -> str:
    return found[0] if not _SECRET.search(unquote(found[1])) else f"{found[1]}***"


def without_secrets(error: Any, secrets: tuple[str, ...]) -> Any:
    """The error, or if any of these can be read in it or in what led to it, one of the same type where none can."""
    todo, seen = [error], set[int]()
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        text = f"{each} {each.args!r} {getattr(each, '__notes__', '')}"
        if any(secret in text for secret in secrets):
            return _rewritten(error, secrets)
        todo += [each.__cause__, each.__context__]
    return error


def _rewritten(error: BaseException, secrets: tuple[str, ...]) -> BaseException:
    text = str(error)
    for secret in secrets:
        text = text.replace(secret, "***")
    try:
        return type(error)(text)
    except Exception:  # it wants other arguments
        return KhronosError(text)
