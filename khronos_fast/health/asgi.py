"""The collector as an ASGI application: by itself, mounted, or around another one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from khronos_fast.health.authorization import PATIENCE, Request
from khronos_fast.health.handler import NOT_FOUND, Handler, Plan, Reply, Work
from khronos_fast.health.prefixes import parse_prefix
from khronos_fast.health.service_loop import bounded

if TYPE_CHECKING:
    from khronos_fast.health.collector import HealthCollector

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def make_asgi(collector: HealthCollector, app: ASGIApp | None, prefix: str) -> ASGIApp:
    """Return the application: see `HealthCollector.asgi`."""
    if app is not None and not callable(app):
        raise TypeError(f"app must be an ASGI application or None, not {app!r}")
    before = parse_prefix(prefix)
    handler = collector.handler
    life = _Life()

    async def health(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = _path(scope)
            if path.startswith(before) and handler.knows(path[len(before) :]):
                await _answer(collector, handler, scope, path[len(before) :], send)
                return
            if app is None:
                await _send(send, NOT_FOUND, scope["method"])
                return
        elif scope["type"] == "lifespan":
            await _live(collector, life, app, scope, receive, send)
            return
        elif app is None:
            if scope["type"] != "websocket":
                raise NotImplementedError(f"{scope['type']} is not spoken here")
            await send({"type": "websocket.close", "code": 1000})
            return
        assert app is not None
        await app(scope, receive, send)

    return health


def _path(scope: Scope) -> str:
    """Return the path below where this is mounted: some frameworks take that off the path, and some do not."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and path.startswith(root + "/"):
        return path[len(root) :]
    return path


async def _answer(collector: HealthCollector, handler: Handler, scope: Scope, path: str, send: Send) -> None:
    collector.loop.note()
    request = Request(
        scope["method"], path, _Headers(scope.get("headers", ())), scope.get("query_string", b"").decode("latin-1")
    )
    await _send(send, await _run(handler, handler.plan(request)), request.method)


async def _run(handler: Handler, plan: Plan) -> Reply:
    """Follow a plan; what would block is done in a thread."""
    try:
        step = next(plan)
        while True:
            try:
                if isinstance(step, Work):
                    done = await asyncio.wrap_future(handler.background.begin(step.name, step.function))
                else:
                    done = await bounded(step.awaitable, PATIENCE)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                step = plan.throw(RuntimeError("cancelled"))  # by itself: nobody has cancelled this task
            except Exception as error:
                step = plan.throw(error)
            else:
                step = plan.send(done)
    except StopIteration as end:
        answer: Reply = end.value
        return answer


async def _send(send: Send, answer: Reply, method: str) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


class _Headers(dict[str, str]):
    """The headers of a request, by name."""

    def __init__(self, pairs: Any) -> None:
        super().__init__()
        for name, value in pairs:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            self[key] = f"{self[key]}, {text}" if key in self else text


class _Life:
    """What an application remembers from one start of its server to the next."""

    has_drained = False
    """The end of the one before has drained it. A drain that somebody has asked for is not ended by a start."""


async def _live(
    collector: HealthCollector, life: _Life, app: ASGIApp | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Begin when the server does, and end when it does; with another application around it."""

    async def hear() -> Message:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            life.has_drained = True
            collector.drain()
        return message

    async def tell(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            if life.has_drained:
                life.has_drained = False
                collector.resume()
            collector.start()
        elif message["type"].startswith("lifespan.shutdown."):
            await asyncio.wrap_future(collector.handler.background.begin("stop", collector.stop))
        await send(message)

    if app is not None:
        await app(scope, hear, tell)
        return
    await hear()
    await tell({"type": "lifespan.startup.complete"})
    await hear()
    await tell({"type": "lifespan.shutdown.complete"})
