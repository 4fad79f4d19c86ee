"""The collector's web face as its users wear it: `wear(name, health)` puts it on, and what came is asked with `get`."""

import contextlib
import importlib.util
import inspect
import os
import subprocess
import sys
import threading

import pytest
from tiers.servers import when

from khronos_fast import Database, MemoryCache, Pool
from khronos_fast.health import HealthCollector

from .web_transport import PATIENCE, Loop, call_asgi, call_wsgi, environ, exchange, http_scope, parsed, request_bytes

ASGI_FACES = [
    "asgi",
    "asgi-prefix",
    "starlette-mounted",
    "starlette-nested",
    "starlette-root",
    "starlette-middleware",
    "django-asgi",
]
WSGI_FACES = ["wsgi", "wsgi-prefix", "flask", "flask-mounted", "django-wsgi"]
SOCKET_FACES = ["uvicorn", "sidecar"]
FACES = [*ASGI_FACES, *WSGI_FACES, *SOCKET_FACES]
EVERYWHERE = pytest.mark.parametrize("name", FACES)
# One of each kind, for what does not hang on the framework.
EACH_KIND = pytest.mark.parametrize("name", ["asgi", "starlette-middleware", "wsgi", "sidecar"])
# Those without another application behind them.
ALONE = ("asgi", "asgi-prefix", "wsgi", "wsgi-prefix", "sidecar")

HAS_PROMETHEUS = importlib.util.find_spec("prometheus_client") is not None
PROBES = ["/health", "/livez", "/readyz"]
PROTECTED = [
    "/dashboard",
    "/dashboard/memory",
    "/dashboard/services",
    "/dashboard/live",
    "/dashboard/cluster",
    "/cache/stats",
    "/pool/stats",
    "/metrics",
]
ROUTES = [*PROBES, *PROTECTED]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
SCRAPER = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
HELLO = b"hello from the application"


def allowed(path):
    """The status of a route for whoever may see it."""
    return 501 if path == "/metrics" and not HAS_PROMETHEUS else 200


class Face:
    """The web face in one of its clothes. `prefix`: what comes before each route."""

    def __init__(self, name, prefix=""):
        self.name, self.prefix = name, prefix

    def get(self, path, headers=(), method="GET", body=b""):
        """Ask for one of the routes, or for what looks like one."""
        return self.ask(self.prefix + path, headers, method, body)

    def close(self):
        pass


class ASGIFace(Face):
    """An ASGI application, called in a loop of its own."""

    def __init__(self, name, app, prefix=""):
        super().__init__(name, prefix)
        self.app, self.loop = app, Loop()

    def ask(self, target, headers=(), method="GET", body=b"", **more):
        return self.loop.run(call_asgi(self.app, http_scope(target, headers, method, **more), body))

    def close(self):
        self.loop.close()


class WSGIFace(Face):
    """A WSGI application, called in the thread that asks."""

    def __init__(self, name, app, prefix=""):
        super().__init__(name, prefix)
        self.app = app

    def ask(self, target, headers=(), method="GET", body=b"", **more):
        return call_wsgi(self.app, environ(target, headers, method, body, **more))


class SocketFace(Face):
    """A server, asked over its socket."""

    def __init__(self, name, address, close, prefix=""):
        super().__init__(name, prefix)
        self.address, self._close = address, close

    def ask(self, target, headers=(), method="GET", body=b""):
        return parsed(exchange(self.address, request_bytes(target, headers, method, body)), method)

    def close(self):
        self._close()


def serve_asgi(app):
    """Run an application under uvicorn, in a thread: its address, and what ends it."""
    uvicorn = pytest.importorskip("uvicorn")
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, ws="none", backlog=4096)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn", daemon=True)
    thread.start()
    when(lambda: server.started or not thread.is_alive(), "uvicorn does not start")
    address = server.servers[0].sockets[0].getsockname()

    def close():
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()

    return address, close


# ---------------------------------------------------------------------- applications


def starlette(*routes, **options):
    """An application with one page of its own, besides these routes."""
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def hello(request):
        return Response(HELLO)

    return Starlette(routes=[Route("/hello", hello), *routes], **options)


def mounted(path, app):
    from starlette.routing import Mount

    return Mount(path, app) if callable(app) else Mount(path, routes=app)


def flask():
    app = pytest.importorskip("flask").Flask("hello")
    app.add_url_rule("/hello", view_func=lambda: HELLO, endpoint="hello")
    return app


def django():
    """Django, set up once in this process, and as little of it as there may be."""
    conf = pytest.importorskip("django.conf")
    if not conf.settings.configured:
        from django.http import HttpResponse
        from django.urls import path

        class Pages:
            urlpatterns = [path("hello", lambda request: HttpResponse(HELLO))]

        conf.settings.configure(
            ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, ROOT_URLCONF=Pages, SECRET_KEY="of a test", USE_TZ=True
        )
    from django.core import asgi, wsgi

    return wsgi.get_wsgi_application, asgi.get_asgi_application


def wear(name, health):
    """The collector's web face, as this name says."""
    if name == "asgi":
        return ASGIFace(name, health.asgi())
    if name == "asgi-prefix":
        return ASGIFace(name, health.asgi(prefix="/internal/ops"), "/internal/ops")
    if name.startswith("starlette"):
        if name == "starlette-middleware":
            app = starlette()
            app.add_middleware(health.asgi)
            return ASGIFace(name, app)
        pytest.importorskip("starlette")
        if name == "starlette-mounted":
            return ASGIFace(name, starlette(mounted("/ops", health.asgi())), "/ops")
        if name == "starlette-nested":
            return ASGIFace(name, starlette(mounted("/a", [mounted("/b", health.asgi())])), "/a/b")
        return ASGIFace(name, starlette(mounted("", health.asgi())))
    if name == "django-asgi":
        return ASGIFace(name, health.asgi(django()[1]()))
    if name == "django-wsgi":
        return WSGIFace(name, health.wsgi(django()[0]()))
    if name == "wsgi":
        return WSGIFace(name, health.wsgi())
    if name == "wsgi-prefix":
        return WSGIFace(name, health.wsgi(prefix="/internal/ops"), "/internal/ops")
    if name == "flask":
        app = flask()
        app.wsgi_app = health.wsgi(app.wsgi_app)
        return WSGIFace(name, app)
    if name == "flask-mounted":
        app = flask()
        dispatcher = pytest.importorskip("werkzeug.middleware.dispatcher").DispatcherMiddleware
        app.wsgi_app = dispatcher(app.wsgi_app, {"/ops": health.wsgi()})
        return WSGIFace(name, app, "/ops")
    if name == "uvicorn":
        pytest.importorskip("starlette")
        return SocketFace(name, *serve_asgi(starlette(mounted("/ops", health.asgi()))), "/ops")
    assert name == "sidecar"
    sidecar = health.serve(port=0)
    return SocketFace(name, (sidecar.address[0], sidecar.address[1]), sidecar.close)


class Wardrobe(contextlib.ExitStack):
    """Collectors and their faces, all of which end with the test: the faces first."""

    def collector(self, **options):
        health = HealthCollector(**{"interval": 0.05} | options)
        self.callback(health.stop)
        return health

    def wear(self, name, health):
        face = wear(name, health)
        self.callback(face.close)
        return face


def shop(wardrobe, folder):
    """A collector of this and that, which lets everybody see."""
    health = wardrobe.collector(
        name="shop", version="1.2", worker="w7", environment="testing", authorize=lambda request: True
    )
    things = health.register("things", MemoryCache(100))
    things["one"] = 1
    things.get("one")
    things.get("two")
    pool = Pool(object, min_size=1, max_size=3)
    wardrobe.callback(pool.close)
    with pool.connection():
        pass
    health.register("pool", pool)
    database = Database(f"sqlite:///{folder}/state.db")
    wardrobe.callback(database.close)
    database.execute("CREATE TABLE things (id INTEGER)")
    database.query("SELECT * FROM things")
    health.register("db", database)
    health.register("answers", lambda: {"answer": 42})
    health.check("fine", lambda: True)
    health.start()
    return health


class Counted:
    """A callable that counts its calls, answers as it is told, and may wait."""

    def __init__(self, result=None):
        self.result, self.calls, self.error = result, 0, None
        self.go = threading.Event()
        self.go.set()

    def __call__(self, *arguments):
        self.calls += 1
        self.go.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self.result

    def hang(self):
        self.go.clear()

    def let_go(self):
        self.go.set()


class Component:
    """Something foreign with `stats()`."""

    def __init__(self, result=None):
        self.stats = Counted({"size": 1} if result is None else result)


def run_script(source, *arguments):
    """Run a program in an interpreter of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", "-c", inspect.cleandoc(source), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr[-4000:]}"
    return done
