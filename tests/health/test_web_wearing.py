"""Where the web face is worn: alone, mounted, before an application, in a child; when it begins, and when it ends."""

import asyncio
import os
import socket

import pytest

from .web import (
    EACH_KIND,
    EVERYWHERE,
    HELLO,
    PROBES,
    PROTECTED,
    ROUTES,
    ASGIFace,
    Component,
    allowed,
    run_script,
    shop,
    starlette,
    when,
)
from .web_transport import Loop, call_asgi, http_scope


@pytest.fixture
def collector(wardrobe, tmp_path):
    return shop(wardrobe, tmp_path)


@pytest.fixture
def wear(wardrobe, collector):
    return lambda name: wardrobe.wear(name, collector)


class TestBeginningAndEnd:
    @EVERYWHERE
    def test_the_first_request_starts_what_nobody_has_started(self, wardrobe, name):
        health = wardrobe.collector(authorize=lambda request: True)
        component = health.register("component", Component())
        face = wardrobe.wear(name, health)
        face.get("/readyz")
        when(lambda: component.stats.calls > 3, "the sampler does not run")
        when(lambda: face.get("/dashboard/live").json()["seq"] > 2)

    @pytest.mark.parametrize("name", ["asgi", "wsgi"])
    def test_be_it_the_one_for_livez(self, wardrobe, name):
        health = wardrobe.collector()
        component = health.register("component", Component())
        wardrobe.wear(name, health).get("/livez")
        when(lambda: component.stats.calls > 3, "the sampler does not run", seconds=10)

    def test_the_lifespan_starts_drains_and_stops(self, wardrobe):
        health = wardrobe.collector()
        component = health.register("component", Component())
        app, loop = health.asgi(), Loop()
        wardrobe.callback(loop.close)

        async def live():
            asked, told = asyncio.Queue(), asyncio.Queue()
            task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, asked.get, told.put))
            asked.put_nowait({"type": "lifespan.startup"})
            started = await asyncio.wait_for(told.get(), 30)
            while component.stats.calls < 3:
                await asyncio.sleep(0.01)
            ready = await call_asgi(app, http_scope("/readyz"))
            asked.put_nowait({"type": "lifespan.shutdown"})
            stopped = await asyncio.wait_for(told.get(), 30)
            await asyncio.wait_for(task, 30)
            return started, ready.status, stopped

        started, ready, stopped = loop.run(live())
        assert (started, ready, stopped) == (
            {"type": "lifespan.startup.complete"},
            200,
            {"type": "lifespan.shutdown.complete"},
        )
        assert health.snapshot()["status"] == "OUT_OF_SERVICE"

    def test_around_an_application_it_drains_while_that_shuts_down(self, wardrobe):
        health = wardrobe.collector()
        health.start()
        seen = []

        async def app(scope, receive, send):
            await receive()
            await send({"type": "lifespan.startup.complete"})
            seen.append(health.snapshot()["status"])
            await receive()
            seen.append(health.snapshot()["status"])
            await send({"type": "lifespan.shutdown.complete"})

        messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive():
            return messages.pop(0)

        async def send(message):
            seen.append(message["type"])

        loop = Loop()
        wardrobe.callback(loop.close)
        loop.run(health.asgi(app)({"type": "lifespan"}, receive, send))
        assert seen == ["lifespan.startup.complete", "UP", "OUT_OF_SERVICE", "lifespan.shutdown.complete"]

    def test_a_collector_that_was_stopped_starts_again(self, wardrobe, collector):
        component = collector.register("component", Component())
        face = wardrobe.wear("wsgi", collector)
        for _ in range(3):
            collector.start()
            collector.start()
            before = component.stats.calls
            when(lambda before=before: component.stats.calls > before + 1)
            assert face.get("/health").status == 200
            collector.stop()
            collector.stop()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
    def test_a_forked_child_speaks_for_itself(self):
        run_script(
            """
            import os, warnings
            from khronos_fast import HealthCollector
            from health.web import WSGIFace, when
            warnings.simplefilter("ignore", DeprecationWarning)
            well = [True]
            health = HealthCollector(interval=0.05)
            health.check("well", lambda: well[0])
            face = WSGIFace("wsgi", health.wsgi())
            health.start()
            assert face.get("/health").json() == {"status": "UP", "pid": os.getpid(), "worker": str(os.getpid())}
            child = os.fork()
            if not child:
                status = 1
                try:
                    assert face.get("/health").json() == {
                        "status": "UP", "pid": os.getpid(), "worker": str(os.getpid())
                    }
                    well[0] = False
                    when(lambda: face.get("/health").status == 503, "the child's sampler does not run")
                    status = 0
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert face.get("/health").status == 200
            health.stop()
            """
        )


class TestBehind:
    """What is none of the collector's business goes through to the application."""

    @pytest.mark.parametrize("name", ["starlette-middleware", "django-asgi", "flask", "django-wsgi"])
    def test_other_paths(self, wear, name):
        face = wear(name)
        for path in ("/hello", "/hello?x=1"):
            answer = face.ask(path)
            assert (answer.status, answer.body) == (200, HELLO)
            assert answer.header("cache-control") is None
        for path in ("/nowhere", "/health/", "/healthy", "/dashboard/nowhere", "//health"):
            answer = face.ask(path)
            assert answer.status != 200
            assert b'"error"' not in answer.body
        assert face.ask("/nowhere", method="POST").status == 404

    @pytest.mark.parametrize("name", ["starlette-mounted", "flask-mounted", "uvicorn"])
    def test_beside_a_mount(self, wear, name):
        face = wear(name)
        assert face.ask("/hello").body == HELLO
        assert face.ask("/health").status == 404
        assert face.ask("/ops").status != 200
        assert face.ask("/opshealth").status == 404

    def test_the_application_gets_what_the_server_gave(self, collector, wardrobe):
        got = []

        async def app(scope, receive, send):
            got.append((scope, receive, send))

        loop = Loop()
        wardrobe.callback(loop.close)
        wrapped = collector.asgi(app)
        for scope in (http_scope("/hello"), http_scope("/health") | {"type": "websocket"}):
            given = (scope, object(), object())
            loop.run(wrapped(*given))
            assert all(one is other for one, other in zip(got[-1], given, strict=True))

    def test_lifespan_and_websockets(self, collector, wardrobe):
        pytest.importorskip("starlette")
        from contextlib import asynccontextmanager

        from starlette.routing import WebSocketRoute

        seen = []

        @asynccontextmanager
        async def lifespan(app):
            seen.append("up")
            yield
            seen.append("down")

        async def echo(websocket):
            await websocket.accept()
            await websocket.send_text(await websocket.receive_text())
            await websocket.close()

        app = starlette(WebSocketRoute("/health", echo), lifespan=lifespan)
        app.add_middleware(collector.asgi)
        loop = Loop()
        wardrobe.callback(loop.close)

        def drive(scope, *messages):
            sent, left = [], list(messages)

            async def receive():
                return left.pop(0)

            async def send(message):
                sent.append(message["type"])

            loop.run(app(scope, receive, send))
            return sent

        lived = drive({"type": "lifespan", "state": {}}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
        assert lived == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert seen == ["up", "down"]
        talked = drive(
            http_scope("/health") | {"type": "websocket", "scheme": "ws", "subprotocols": []},
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "hello"},
            {"type": "websocket.disconnect", "code": 1000},
        )
        assert talked == ["websocket.accept", "websocket.send", "websocket.close"]

    def test_alone_it_refuses_websockets(self, collector, wardrobe):
        sent = []

        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message["type"])

        loop = Loop()
        wardrobe.callback(loop.close)
        loop.run(collector.asgi()(http_scope("/health") | {"type": "websocket"}, receive, send))
        assert sent == ["websocket.close"]


class TestWhereItIs:
    @pytest.mark.parametrize("name", ["asgi-prefix", "wsgi-prefix"])
    def test_a_prefix(self, wear, name):
        face = wear(name)
        for path in ROUTES:
            assert face.get(path).status == allowed(path)
            assert face.ask(path).status == 404
        for path in ("/internal/ops", "/internal/ops/", "/internal/opshealth", "/internal/health"):
            assert face.ask(path).status == 404

    def test_a_prefix_as_middleware(self, collector, wardrobe):
        app = starlette()
        app.add_middleware(collector.asgi, prefix="/internal")
        face = ASGIFace("starlette", app, "/internal")
        wardrobe.callback(face.close)
        assert face.get("/dashboard").json()["name"] == "shop"
        assert face.ask("/dashboard").status == 404
        assert face.ask("/hello").body == HELLO

    def test_root_path_and_script_name(self, wear):
        asgi, wsgi = wear("asgi"), wear("wsgi")
        for path in ROUTES:
            # As the specification has it, and as servers do it whose proxy has taken the root off.
            assert asgi.ask(f"/root{path}", root_path="/root").status == allowed(path)
            assert asgi.ask(path, root_path="/root").status == allowed(path)
            assert wsgi.ask(path, SCRIPT_NAME="/root").status == allowed(path)
        assert asgi.ask("/rooted/health", root_path="/root").status == 404
        assert asgi.ask("/health/health", root_path="/health").status == 200

    def test_scopes_without_what_is_optional(self, wear):
        face = wear("asgi")
        scope = http_scope("/dashboard/live")
        for key in ("root_path", "raw_path", "client", "server", "state", "scheme", "asgi"):
            del scope[key]
        assert face.loop.run(call_asgi(face.app, scope)).status == 200

    def test_the_sidecar_says_where_it_is(self, collector):
        with collector.serve(port=0) as sidecar:
            host, port = sidecar.address[:2]
            assert (host, sidecar.url.rstrip("/")) == ("127.0.0.1", f"http://127.0.0.1:{port}")
            assert str(port) in repr(sidecar)
            with pytest.raises(OSError):  # noqa: PT011 - whose text is the system's
                collector.serve(port=port)
            with collector.serve(port=0) as other:
                assert other.address != sidecar.address
        sidecar.close()
        with pytest.raises(OSError), socket.create_connection((host, port), 5):  # noqa: PT011
            pass
        assert collector.snapshot()["status"] == "UP"

    @pytest.mark.parametrize("port", [-1, 65_536, "http", None, 1.5])
    def test_a_port_that_is_none(self, collector, port):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            collector.serve(port=port)


@EACH_KIND
def test_every_route_is_there_without_anything_registered(wardrobe, name):
    face = wardrobe.wear(name, wardrobe.collector(authorize=lambda request: True))
    for path in PROBES + PROTECTED:
        assert face.get(path).status == allowed(path)
    assert face.get("/cache/stats").json() == {} == face.get("/pool/stats").json()
