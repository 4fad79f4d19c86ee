"""The ASGI application: `granian --interface asgi service.app:app`."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from khronos_fast import AsyncDatabase, AsyncTieredCache, HealthCollector, PoolExhausted, PoolTimeout, RedisTier
from khronos_fast.health import bearer
from service.messages import Receive, RequestError, Scope, Send, as_json, send_answer
from service.projects import Projects
from service.routes import Request, Service, route
from service.settings import Settings

logger = logging.getLogger("service")


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """Open what a worker needs, and close it when the last request has been answered."""
    async with AsyncExitStack() as opened:
        database = await opened.enter_async_context(AsyncDatabase(settings.database_url, name="projects"))
        cache = None
        if settings.caches:
            # A worker that starts while Redis is away works without, and finds it when it is back.
            tier = RedisTier(settings.redis_url, connect=False)
            opened.push_async_callback(tier.aclose)
            cache = AsyncTieredCache(
                memory=10_000, redis=tier, namespace="cluster", ttl=300, coherence=settings.coherence, name="projects"
            )
            await opened.enter_async_context(cache)
        health = watch(settings, database, cache)
        health.start()
        opened.push_async_callback(asyncio.to_thread, health.stop)
        yield Service(Projects(database, cache), health.asgi(answer))


def watch(settings: Settings, database: AsyncDatabase, cache: AsyncTieredCache | None) -> HealthCollector:
    """Return what answers /health, /metrics, /dashboard and their like, before the service is asked."""
    health = HealthCollector(
        "projects",
        worker=settings.worker,
        redis=settings.redis_url,
        # nginx asks for a password, and vouches for whoever knows it. Without a token nobody sees more than the status.
        authorize=bearer(settings.health_token) if settings.health_token else None,
    )
    health.register("database", database)
    if cache is not None:
        health.register("projects", cache)

    async def database_answers() -> None:
        await database.query("SELECT 1")

    # Not critical: all workers have the same database, and each goes on serving what lies in its cache.
    health.check("database answers", database_answers, critical=False)
    return health


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request, or live from the first to the last."""
    if scope["type"] == "lifespan":
        await live(scope, receive, send)
    elif scope["type"] == "http":
        await scope["state"]["service"].face(scope, receive, send)
    else:
        raise NotImplementedError(f"{scope['type']} is not spoken here")


async def live(scope: Scope, receive: Receive, send: Send) -> None:
    """Open the service when the server starts; close it when the server has answered its last request."""
    await receive()
    async with AsyncExitStack() as opened:
        try:
            service = await opened.enter_async_context(open_service(Settings.from_environment()))
        except Exception as error:
            # Said so, the worker ends; an exception would have it serve without all this.
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        scope["state"]["service"] = service
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, whatever comes of it."""
    try:
        handler, numbers = route("GET" if scope["method"] == "HEAD" else scope["method"], scope["path"])
        result = await handler(Request(scope["state"]["service"], receive, numbers))
    except RequestError as error:
        result = as_json({"error": error.reason}, error.status, error.headers)
    except (PoolTimeout, PoolExhausted):
        result = as_json({"error": "too many ask at once"}, 503, {"retry-after": "1"})
    except Exception:
        logger.exception("%s failed", scope["method"])
        result = as_json({"error": "that went wrong"}, 500)
    await send_answer(send, result)
