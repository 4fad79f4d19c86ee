"""The collector as a WSGI application: by itself, mounted, or around another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from khronos_fast.health.authorization import PATIENCE, Request
from khronos_fast.health.handler import NOT_FOUND, Plan, Reply, Work
from khronos_fast.health.prefixes import parse_prefix

if TYPE_CHECKING:
    from khronos_fast.health.collector import HealthCollector

WSGIApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def make_wsgi(collector: HealthCollector, app: WSGIApp | None, prefix: str) -> WSGIApp:
    """Return the application: see `HealthCollector.wsgi`."""
    if app is not None and not callable(app):
        raise TypeError(f"app must be a WSGI application or None, not {app!r}")
    before = parse_prefix(prefix)
    handler = collector.handler

    def health(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace")
        method = environ["REQUEST_METHOD"]
        if path.startswith(before) and handler.knows(path[len(before) :]):
            request = Request(method, path[len(before) :], _headers(environ), environ.get("QUERY_STRING", ""))
            answer = run(collector, handler.plan(request))
        elif app is not None:
            return app(environ, start_response)
        else:
            answer = NOT_FOUND
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers))
        return [] if method == "HEAD" else [answer.body]

    return health


def run(collector: HealthCollector, plan: Plan) -> Reply:
    """Follow a plan in this thread, which may block."""
    try:
        step = next(plan)
        while True:
            try:
                done = (
                    step.function()
                    if isinstance(step, Work)
                    else collector.loop.begin(step.awaitable, PATIENCE).result()
                )
            except asyncio.CancelledError:  # by itself: there is no task here that it could mean
                step = plan.throw(RuntimeError("cancelled"))
            except Exception as error:
                step = plan.throw(error)
            else:
                step = plan.send(done)
    except StopIteration as end:
        answer: Reply = end.value
        return answer


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    return {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
