"""What is answered to a request: one place decides, and the faces (ASGI, WSGI, the sidecar) do the waiting.

A plan is a generator that ends with a `Reply`. What it has to wait for it yields: `Await` something, or have `Work`
done that would block. Nearly always there is nothing to wait for, and the answer's bytes lie ready.
"""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
import urllib.parse
from collections.abc import Awaitable, Callable, Generator, Hashable
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from khronos_fast.health.authorization import Request
from khronos_fast.health.background import Background
from khronos_fast.health.sample import as_json
from khronos_fast.health.sanitize import type_name
from khronos_fast.health.status import Status

if TYPE_CHECKING:
    from khronos_fast.health.collector import HealthCollector
    from khronos_fast.health.prometheus import Exposition
    from khronos_fast.health.sample import Sample

logger = logging.getLogger("khronos_fast.health")
JSON = "application/json"
HTML = "text/html; charset=utf-8"
METHODS = ("GET", "HEAD")
MOST_COMPLAINTS = 100
COMMON = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"))
POLICY = (
    "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Reply(NamedTuple):
    """An answer, for any face."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Await(NamedTuple):
    """Wait for this, and go on with what comes of it."""

    awaitable: Awaitable[Any]


class Work(NamedTuple):
    """Call this where it may block, and go on with what it returns."""

    name: Hashable
    """The same for all who want the same: one call will do for them."""
    function: Callable[[], Any]


Plan: TypeAlias = Generator["Await | Work", Any, Reply]


def reply(status: int, body: bytes, kind: str = JSON, *more: tuple[str, str]) -> Reply:
    """Make an answer with the headers that all have."""
    headers = (("content-type", kind), ("content-length", str(len(body))), *COMMON, *more)
    return Reply(status, headers, body)


def error(status: int, text: str, *more: tuple[str, str]) -> Reply:
    """Make an answer that says what is wrong."""
    return reply(status, as_json({"error": text}), JSON, *more)


NOT_FOUND = error(404, "there is nothing here")


class Handler:
    """Answers for a collector. It owns nothing, and any thread may use it."""

    def __init__(self, collector: HealthCollector) -> None:
        self._collector = collector
        self._routes: dict[str, Callable[[Request], Plan]] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/health": self._health,
            "/dashboard": self._dashboard,
            "/dashboard/live": self._poll,
            "/dashboard/cluster": self._cluster,
            "/dashboard/memory": functools.partial(self._view, "memory"),
            "/dashboard/services": functools.partial(self._view, "services"),
            "/cache/stats": functools.partial(self._view, "caches"),
            "/pool/stats": functools.partial(self._view, "pools"),
            "/metrics": self._metrics,
        }
        self._exposition: Exposition | None = None
        self._complaints: set[tuple[str, str]] = set()
        self.background = Background()
        self._page = (resources.files("khronos_fast.health") / "dashboard.html").read_bytes().split(b"{{nonce}}")

    def knows(self, path: str) -> bool:
        """Whether there is a route of that path."""
        return path in self._routes

    def plan(self, request: Request) -> Plan:
        """Decide what is answered to a request for a path that is known."""
        if request.method not in METHODS:
            return error(405, "only GET and HEAD are possible here", ("allow", ", ".join(METHODS)))
        try:
            return (yield from self._routes[request.path](request))
        except Exception as raised:
            self._complain(f"answering {request.path} has failed: %s", type_name(raised))
            logger.debug("this way", exc_info=True)
            return error(500, "that went wrong")

    def _complain(self, text: str, kind: str) -> None:
        """Log what should not be, once for a kind: who asks may ask a thousand times a second."""
        if (text, kind) not in self._complaints and len(self._complaints) < MOST_COMPLAINTS:
            self._complaints.add((text, kind))
            logger.error(f"{text} (said once)", kind)

    # ---------------------------------------------------------------------- routes that anybody may ask

    def _live(self, _request: Request) -> Plan:
        self._collector.sample()  # begins to sample, if nobody has
        body = {"status": Status.UP.value, "pid": self._collector.pid, "worker": self._collector.worker}
        return reply(200, as_json(body))
        yield  # a plan like the others, with nothing to wait for

    def _ready(self, _request: Request) -> Plan:
        sample = yield from self._sample()
        return _as_status(sample, "about")

    def _health(self, request: Request) -> Plan:
        is_allowed = yield from self._is_allowed(request)
        sample = yield from self._sample()
        return _as_status(sample, "health" if is_allowed else "about")

    # ---------------------------------------------------------------------- those that not everybody may

    def _view(self, name: str, request: Request) -> Plan:
        refusal = yield from self._refuse(request)
        if refusal is not None:
            return refusal
        sample = yield from self._sample()
        return reply(200, sample.body(name))

    def _dashboard(self, request: Request) -> Plan:
        if "text/html" not in request.headers.get("accept", ""):
            answer = yield from self._view("dashboard", request)
            return answer._replace(headers=(*answer.headers, ("vary", "accept")))
        refusal = yield from self._refuse(request)
        if refusal is not None:
            return refusal
        nonce = secrets.token_urlsafe(16)
        policy = ("content-security-policy", POLICY.format(nonce))
        return reply(200, nonce.encode().join(self._page), HTML, policy, ("vary", "accept"))

    def _poll(self, request: Request) -> Plan:
        refusal = yield from self._refuse(request)
        if refusal is not None:
            return refusal
        sample = yield from self._sample()
        history = self._collector.history.since(_after(request.query))
        return reply(
            200,
            b'{"seq":%d,"now":%b,"history":%b,"cluster":%b}'
            % (sample.seq, sample.body("dashboard"), history, self._collector.cluster(sample)),
        )

    def _cluster(self, request: Request) -> Plan:
        refusal = yield from self._refuse(request)
        if refusal is not None:
            return refusal
        sample = yield from self._sample()
        heartbeats = self._collector.heartbeats
        if heartbeats is not None and not heartbeats.has_seen():
            yield Work("look", heartbeats.look)
        return reply(200, self._collector.cluster(sample))

    def _metrics(self, request: Request) -> Plan:
        refusal = yield from self._refuse(request)
        if refusal is not None:
            return refusal
        if self._exposition is None or self._exposition.pid != self._collector.pid:
            try:
                from khronos_fast.health.prometheus import Exposition
            except ImportError:
                return error(501, "metrics need prometheus_client: pip install 'khronos-fast[prometheus]'")
            self._exposition = Exposition(self._collector)
        accept = request.headers.get("accept", "")
        written = self._exposition.ready(accept)
        if written is None:
            written = yield Work(("metrics", accept), functools.partial(self._exposition.render, accept))
        kind, text = written
        return reply(200, text, kind)

    # ---------------------------------------------------------------------- steps

    def _sample(self) -> Generator[Work, Sample, Sample]:
        return self._collector.sample() or (yield Work("sample", self._collector.take_sample))

    def _is_allowed(self, request: Request) -> Generator[Await, Any, bool]:
        authorize = self._collector.authorize
        if authorize is None:
            return False
        try:
            answer: Any = authorize(request)
            if inspect.isawaitable(answer):
                answer = yield Await(answer)
        except Exception as raised:
            self._complain("authorize has raised %s, so the request is refused", type_name(raised))
            return False
        if answer is not True and answer is not False:
            self._complain("authorize must return True or False, not %s: the request is refused", type_name(answer))
        return answer is True

    def _refuse(self, request: Request) -> Generator[Await, Any, Reply | None]:
        """Return what is answered to one who may not ask this; None to one who may."""
        if (yield from self._is_allowed(request)):
            return None
        challenges: tuple[str, ...] = getattr(self._collector.authorize, "challenges", ())
        if challenges:
            return error(401, "who asks?", *(("www-authenticate", each) for each in challenges))
        return error(403, "this is not for you")


def _as_status(sample: Sample, view: str) -> Reply:
    return reply(Status[sample.snapshot["status"]].code, sample.body(view))


def _after(query: str) -> int:
    """Return the number after which points are wanted; -1 where it is none."""
    try:
        asked = dict(urllib.parse.parse_qsl(query, max_num_fields=10)).get("after", "")
    except ValueError:
        return -1
    return int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 16 else -1
