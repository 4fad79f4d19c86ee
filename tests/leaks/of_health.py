"""The health collector, its checks, and its three faces."""

import asyncio
import contextlib
import http.client

from khronos_fast import HealthCollector, MemoryCache, Pool
from khronos_fast.health import Request, Status, any_of, basic, bearer

from .exercises import exercises
from .worlds import World, fails, refused

PATHS = ("/health", "/livez", "/readyz", "/dashboard", "/dashboard/memory", "/dashboard/services", "/cache/stats")
PATHS = (*PATHS, "/pool/stats", "/metrics", "/dashboard/cluster", "/nowhere")
HEADERS = {"authorization": "Bearer a token"}
NEVER = 10_000.0  # seconds between samples that nobody asks for


class Health(World):
    def open(self):
        self.health = HealthCollector("leaks", authorize=bearer("a token"), interval=NEVER, worker="1")
        self.cache, self.pool = MemoryCache(10, name="cache"), Pool(object, min_size=0)
        self.health.register("cache", self.cache)
        self.health.register("pool", self.pool)
        self.sidecar = self.health.serve(port=0)
        self.asgi, self.wsgi = self.health.asgi(), self.health.wsgi(prefix="/status")

    def close(self):
        self.sidecar.close()
        self.health.stop()
        self.pool.close()


def broken():
    raise ValueError("a check of the tests")


@exercises(Health, "HealthCollector: register unregister check")
def registering(w):
    health = w.health
    health.register("more", w.cache), health.register("mine", lambda: {"kind": "mine"})
    health.check("well", lambda: True), health.check("badly", broken, critical=False)
    health.snapshot()
    for name in ("more", "mine", "well", "badly"):
        health.unregister(name)
    fails(lambda: health.register("cache", w.cache), ValueError)
    fails(lambda: health.register(5, w.cache), TypeError)
    fails(lambda: health.check("x", 5), TypeError)
    fails(lambda: health.unregister("nobody"), KeyError)


@exercises(
    Health,
    "HealthCollector: snapshot sample take_sample cluster worker_of worker pid handler",
    "HealthCollector: __repr__ drain resume",
)
def looking(w):
    health = w.health
    health.snapshot(), health.sample(), health.worker, health.pid, health.handler, repr(health)
    sample = health.take_sample()
    health.cluster(sample), health.worker_of(sample), health.drain(), health.resume()


@exercises(
    Health,
    "HealthCollector",
    "HealthCollector: __init__ __enter__ __exit__ start stop close",
)
def whole_collectors(w):
    with HealthCollector("whole", interval=NEVER) as health:
        health.register("cache", w.cache)
        health.check("well", lambda: True)
        health.snapshot()
    health.start(), health.stop(), health.close()
    for wrong in ({"interval": 0}, {"authorize": 5}, {"history": 0}, {"worker": 5}, {"redis": 5}):
        fails(lambda wrong=wrong: HealthCollector(**wrong), TypeError, ValueError)


@exercises(Health, "HealthCollector.wsgi")
def worn_by_wsgi(w):
    for method in ("GET", "HEAD", "POST"):
        for path in PATHS:
            for more in ({}, {"HTTP_AUTHORIZATION": HEADERS["authorization"]}, {"HTTP_AUTHORIZATION": "nonsense"}):
                environ = {"REQUEST_METHOD": method, "PATH_INFO": f"/status{path}", **more}
                b"".join(w.wsgi(environ, lambda line, headers: None))
    w.health.wsgi(lambda environ, start: [])({"REQUEST_METHOD": "GET", "PATH_INFO": "/else"}, None)
    fails(lambda: w.health.wsgi(5), TypeError)
    fails(lambda: w.health.wsgi(prefix="no slash"), ValueError)


@exercises(Health, "HealthCollector.asgi")
async def worn_by_asgi(w):
    async def send(message):
        pass

    for path in PATHS:
        for headers in ([], [(b"authorization", b"Bearer a token")]):
            scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b""}
            await w.asgi(scope, None, send)
    with contextlib.suppress(NotImplementedError):
        await w.asgi({"type": "nothing"}, None, send)
    fails(lambda: w.health.asgi(5), TypeError)
    await asyncio.sleep(0)


@exercises(
    Health,
    "HealthCollector.serve",
    "Sidecar",
    "Sidecar: __init__ __enter__ __exit__ __repr__ url close",
)
def served(w):
    with HealthCollector("served", interval=NEVER) as health, health.serve(port=0) as sidecar:
        sidecar.url, repr(sidecar)
    sidecar.close()
    fails(lambda: health.serve(port=-1), ValueError, OverflowError, OSError)


@exercises(Health, "Sidecar: url")
def asked_at_a_port(w):
    host, _, port = w.sidecar.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    for path in PATHS:
        for headers in ({}, HEADERS):
            connection.request("GET", path, headers=headers)
            connection.getresponse().read()
    connection.close()


@exercises(
    World,
    "any_of",
    "basic",
    "bearer",
    "Request",
    "Status",
    "Status: code worst __str__ __format__ __new__",
)
def authorizing(w):
    ways = basic("ada", "a password"), bearer("a token", "another")
    for value in ("Bearer a token", "Basic YWRhOmEgcGFzc3dvcmQ=", "Basic !", "Bearer", ""):
        any_of(*ways)(Request("GET", "/dashboard", {"authorization": value}))
    repr(ways)
    for wrong in (lambda: bearer(""), lambda: bearer(5), lambda: basic("a:b", "x"), lambda: any_of(5), any_of):
        with refused(TypeError, ValueError):
            wrong()
    for status in Status:
        status.code, str(status), f"{status:>9}", Status(status.value)
    Status.worst(list(Status))
    fails(lambda: Status("nothing"), ValueError)
