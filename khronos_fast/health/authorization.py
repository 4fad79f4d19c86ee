"""Who may see more than that the service is there: what a request shows of itself, and what is made of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeAlias

from khronos_fast.health.sanitize import type_name

logger = logging.getLogger("khronos_fast.health")
PATIENCE = 2.0
"""Seconds that an async `authorize` may take; then the request is refused."""
LONGEST_CREDENTIALS = 8192
"""Characters; what is longer is refused without a look at it."""


class Request(NamedTuple):
    """What `authorize` is asked about."""

    method: str
    """GET or HEAD."""
    path: str
    """Of the route: without what it is mounted at."""
    headers: Mapping[str, str]
    """By their names in lower case; where one came several times, its values are joined by commas."""
    query: str = ""
    """What comes after the question mark, as it was sent."""


Authorize: TypeAlias = Callable[[Request], "bool | Awaitable[bool]"]


class Credentials:
    """Lets in whoever shows a secret in the header `Authorization`; a base of `bearer` and `basic`.

    Each secret is compared as a whole and as bytes, in a time that does not depend on where it differs.
    """

    def __init__(self, scheme: str, challenge: str, secrets: list[bytes], expires: datetime.datetime | None) -> None:
        self.challenges = (challenge,)
        """What a refusal says in `WWW-Authenticate`."""
        self._scheme = scheme
        self._secrets = secrets
        self._expires = expires

    def __call__(self, request: Request) -> bool:
        header = request.headers.get("authorization", "")
        if len(header) > LONGEST_CREDENTIALS:
            return False
        scheme, _space, shown = header.partition(" ")
        if scheme.lower() != self._scheme:
            return False
        if self._expires is not None and datetime.datetime.now(datetime.UTC) >= self._expires:
            return False
        try:
            # Web servers hand over headers as latin-1, whatever they are.
            secret = self._decode(shown.strip(" ").encode("latin-1"))
        except ValueError:
            return False
        matches = [hmac.compare_digest(secret, each) for each in self._secrets]  # all of them, whichever it is
        return any(matches)

    def _decode(self, shown: bytes) -> bytes:
        return shown

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Bearer(Credentials):
    """See `bearer`."""


class Basic(Credentials):
    """See `basic`."""

    def _decode(self, shown: bytes) -> bytes:
        try:
            return base64.b64decode(shown, validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error


def bearer(*tokens: str, expires: datetime.datetime | None = None) -> Bearer:
    """Let in whoever shows one of these tokens: `Authorization: Bearer …`, as Prometheus and programs do.

    >>> allow = bearer("new-token", "old-token")
    >>> allow(Request("GET", "/metrics", {"authorization": "Bearer old-token"}))
    True

    Args:
        tokens: any text without spaces around it; bytes are those of UTF-8.
        expires: from when on they are refused; with a time zone. None: never.

    Raises:
        TypeError, ValueError: there is no token, or an empty one; `expires` has no time zone.
    """
    if not tokens:
        raise ValueError("bearer() needs a token at least")
    secrets = [_secret(token, "a token") for token in tokens]
    return Bearer("bearer", 'Bearer realm="khronos_fast"', secrets, _moment(expires))


def basic(user: str, password: str, *, expires: datetime.datetime | None = None) -> Basic:
    """Let in whoever knows user and password, as a browser asks for them. Use it behind TLS.

    >>> basic("ops", "secret")(Request("GET", "/dashboard", {"authorization": "Basic b3BzOnNlY3JldA=="}))
    True

    Raises:
        TypeError, ValueError: one is empty, or there is a colon in the user; `expires` has no time zone.
    """
    name = _secret(user, "user")
    if ":" in user:
        raise ValueError("user must have no colon in it")
    secrets = [name + b":" + _secret(password, "password")]
    return Basic("basic", 'Basic realm="khronos_fast", charset="UTF-8"', secrets, _moment(expires))


def any_of(*ways: Authorize) -> Authorize:
    """Let in whoever one of these lets in: a browser by `basic`, Prometheus by `bearer`, say.

    Async ones are waited for together, when no other has said yes. One that raises is a no.

    >>> allow = any_of(basic("ops", "secret"), bearer("token"))
    >>> allow(Request("GET", "/metrics", {"authorization": "Bearer token"}))
    True

    Raises:
        TypeError, ValueError: there is none, or one can't be called.
    """
    if not ways:
        raise ValueError("any_of() needs at least one way in")
    for way in ways:
        if not callable(way):
            raise TypeError(f"any_of() takes callables, not what is of type {type(way).__name__}")
    return _AnyOf(ways)


class _AnyOf:
    def __init__(self, ways: tuple[Authorize, ...]) -> None:
        self._ways = ways
        self.challenges = tuple(each for way in ways for each in getattr(way, "challenges", ()))

    def __call__(self, request: Request) -> bool | Awaitable[bool]:
        later: list[Awaitable[bool]] = []
        for way in self._ways:
            answer = _ask(way, request)
            if answer is True:
                for each in later:
                    if asyncio.iscoroutine(each):
                        each.close()
                return True
            if isinstance(answer, Awaitable):
                later.append(answer)
        return _any_later(later) if later else False


async def _any_later(answers: list[Awaitable[bool]]) -> bool:
    """Wait until one says True, or all have said something else: one that hangs does not lock the others out."""
    waiting = {asyncio.ensure_future(_settled(each)) for each in answers}
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(each.result() is True for each in done):
                return True
        return False
    finally:
        for each in waiting:
            each.cancel()


def _ask(way: Authorize, request: Request) -> bool | Awaitable[bool]:
    """Ask one of several: that it raises is no reason not to ask the others."""
    try:
        return way(request)
    except Exception as error:
        logger.error("one of several ways to authorize has raised %s", type_name(error))
        return False


async def _settled(answer: Awaitable[bool]) -> bool:
    try:
        return await answer
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        logger.error("one of several ways to authorize has raised %s", type_name(error))
        return False


def _secret(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a str, not {type(text).__name__}")
    if not text:
        raise ValueError(f"{what} must not be empty")
    if text != text.strip():
        raise ValueError(f"{what} must have no spaces around it, and no line's end: was it read from a file?")
    return text.encode()


def _moment(expires: datetime.datetime | None) -> datetime.datetime | None:
    if expires is None:
        return None
    if not isinstance(expires, datetime.datetime):
        raise TypeError(f"expires must be a datetime, not {expires!r}")
    if expires.tzinfo is None or expires.utcoffset() is None:
        raise ValueError(f"expires must have a time zone, but {expires!r} has none")
    return expires
