"""The sidecar as a server: requests that are none, clients that are slow, greedy or many, and its own end.

What its answers say is the business of `test_web_*.py`.
"""

import contextlib
import errno
import gc
import os
import re
import socket
import threading
import time
import weakref

import pytest
from tiers.servers import PATIENCE, when

from khronos_fast.health import HealthCollector
from khronos_fast.health import sidecar as module

from .web import run_script
from .web_transport import exchange, parsed, request_bytes

# Much less than what a server that hangs would take, and much more than what one that does not takes on a slow machine.
SOON = 10.0
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class Seen:
    """An `authorize` that keeps what it was shown, and may hang."""

    def __init__(self):
        self.requests = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, request):
        self.requests.append(request)
        self.go.wait(2 * PATIENCE)
        return True


@pytest.fixture
def seen():
    seen = Seen()
    yield seen
    seen.go.set()


@pytest.fixture
def health(seen):
    health = HealthCollector("tested", interval=0.05, authorize=seen)
    yield health
    health.stop()


@pytest.fixture
def sidecar(health):
    with health.serve(port=0) as sidecar:
        yield sidecar


@pytest.fixture
def connect():
    """Make connections that end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda sidecar: stack.enter_context(socket.create_connection(sidecar.address[:2], PATIENCE))


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd):
    yield
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def answer(sidecar, data, method="GET", *, ends=False):
    """The one answer to these bytes, after which the client sends no more, or even says so."""
    if not ends:
        return parsed(exchange(sidecar.address[:2], data), method)
    with socket.create_connection(sidecar.address[:2], PATIENCE) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return parsed(b"".join(iter(lambda: connection.recv(65_536), b"")), method)


def is_answered(sidecar):
    """How long it takes until it says that it lives."""
    began = time.monotonic()
    assert answer(sidecar, request_bytes("/livez")).status == 200
    return time.monotonic() - began


def is_complaint(answer, *statuses):
    assert answer.status in statuses
    assert answer.json().keys() == {"error"}
    assert answer.header("connection") == "close"
    return True


class TestHeaders:
    @pytest.mark.parametrize(
        "lines",
        [
            b"User-Agent: a\rX-User: admin\r\n",
            b"User-Agent: a\nX-User: admin\r\n",
            b"User-Agent: a\r\rX-User: admin\r\n",
            b"User-Agent: a\n\rX-User: admin\r\n",
            b"User-Agent: a\0X-User: admin\r\n",
            b"User-Agent: a\r\n\rX-User: admin\r\n",
            b"User-Agent: a\r\n\nX-User: admin\r\n",
            b"User-Agent: a\r\n X-User: admin\r\n",
            b"\tX-User: admin\r\n",
            b"X-User: admin\n",
            b"X-User : admin\r\n",
            b": admin\r\nX-User: admin\r\n",
            b"no colon\r\nX-User: admin\r\n",
            b"From nobody Mon\r\nX-User: admin\r\n",
            b"X-\xc3\xa9: admin\r\n",
            b"X-\rUser: admin\r\n",
        ],
    )
    def test_a_line_is_one_header(self, sidecar, seen, lines):
        for data in (b"Host: x\r\n" + lines, lines + b"Host: x\r\n"):
            assert is_complaint(answer(sidecar, b"GET /health HTTP/1.1\r\n" + data + b"\r\n"), 400)
        assert seen.requests == []

    def test_what_else_some_take_for_the_end_of_a_line(self, sidecar, seen):
        value = b"a\x0bX-User: 1\x0cX-User: 2\x1cX-User: 3\x1dX-User: 4\x1eX-User: 5\x85X-User: 6"
        assert answer(sidecar, b"GET /health HTTP/1.1\r\nUser-Agent: " + value + b"\r\n\r\n").status == 200
        [request] = seen.requests
        assert request.headers == {"user-agent": value.decode("latin-1")}

    @pytest.mark.parametrize("end", [b"", b"\r\n", b"\r", b"\r\nX-More"])
    def test_those_that_were_cut_do_not_count(self, sidecar, seen, end):
        data = b"GET /health HTTP/1.1\r\nAuthorization: Bearer t" + end
        assert is_complaint(answer(sidecar, data, ends=True), 400)
        assert seen.requests == []

    def test_what_is_proper_arrives(self, sidecar, seen):
        lines = b"x-a:  b \r\nX-A:c\r\nX-Empty:\r\n!#$%&'*+-.^_`|~9z: \xe9\r\n"
        assert answer(sidecar, b"GET /health HTTP/1.1\r\n" + lines + b"\r\n").status == 200
        [request] = seen.requests
        assert {name: value.strip() for name, value in request.headers.items()} == {
            "x-a": "b , c",
            "x-empty": "",
            "!#$%&'*+-.^_`|~9z": "\xe9",
        }

    @pytest.mark.parametrize("count", [1, 98])
    def test_they_have_a_limit_together(self, sidecar, seen, count):
        lines = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 65_000) for n in range(count))
        assert is_complaint(answer(sidecar, b"GET /health HTTP/1.1\r\n" + lines + b"\r\n"), 431)
        assert seen.requests == []

    def test_the_limit(self, sidecar):
        def headers(size):
            lines = b"".join(b"X-%02d: %b\r\n" % (n, b"a" * 1_000) for n in range(30))
            return b"GET /health HTTP/1.1\r\n" + lines + b"X: " + b"a" * (size - len(lines) - 7) + b"\r\n\r\n"

        assert answer(sidecar, headers(module.LARGEST_HEADER)).status == 200
        assert answer(sidecar, headers(module.LARGEST_HEADER + 1)).status == 431
        assert answer(sidecar, b"GET /health HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n").status == 431


class TestRequestLines:
    @pytest.mark.parametrize(
        "data",
        [
            b"GARBAGE\r\n\r\n",
            b"G\r\n",
            b"\r\n\r\n",
            b"GET /livez\r\n",
            b"GET /livez\r\n\r\n",
            b"GET /livez HTTP/0.9\r\n\r\n",
            b"GET /livez HTTP/00.9\r\n\r\n",
            b"GET / HTTP/2.0\r\n\r\n",
            b"HEAD / HTTP/2.0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"HTTP/x\r\n\r\n",
            b"GET /livez HTTP/x\r\n\r\n",
            b"GET /livez HTTP/1.1.1\r\n\r\n",
            b"GET /livez HTTP/1.1\n\n",
            b"GET /livez\rX: HTTP/1.1\r\n\r\n",
            b"GET\t/livez\tHTTP/1.1\r\n\r\n",
            b"GET  /livez HTTP/1.1\r\n\r\n",
            b"GET /livez /livez HTTP/1.1\r\n\r\n",
            b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
            b"G\0T /livez HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
        ],
    )
    def test_one_that_is_none(self, sidecar, data):
        received = exchange(sidecar.address[:2], data)
        assert received.startswith(b"HTTP/1.1 ")
        assert is_complaint(parsed(received), 400, 505)
        assert is_complaint(answer(sidecar, data, ends=True), 400, 505)

    def test_one_without_an_end(self, sidecar):
        assert is_complaint(answer(sidecar, b"GET /livez", ends=True), 400)
        assert is_complaint(answer(sidecar, b"GET /" + b"a" * 1_000_000), 414)

    def test_versions(self, sidecar):
        for version in ("1.0", "1.1", "1.2"):
            assert answer(sidecar, f"GET /livez HTTP/{version}\r\n\r\n".encode()).status == 200

    @pytest.mark.parametrize("origin", ["http://host", "HTTP://host:9464", "https://u:p@host", "http://[::1]:80"])
    def test_a_target_with_an_origin(self, sidecar, seen, origin):
        assert answer(sidecar, request_bytes(origin + "/livez")).json()["status"] == "UP"
        assert answer(sidecar, request_bytes(origin + "/health?a=http://b/c")).status == 200
        assert (seen.requests[0].path, seen.requests[0].query) == ("/health", "a=http://b/c")
        for rest in ("", "/", "//livez", "?/livez", "livez"):
            assert answer(sidecar, request_bytes(origin + rest)).status == 404

    @pytest.mark.parametrize(
        "target",
        [
            "//livez",
            "///livez",
            "//host/livez",
            "http:///livez",
            "http://",
            "/http://host/livez",
            "*",
            "ftp://host/livez",
        ],
    )
    def test_what_is_not_there(self, sidecar, target):
        assert answer(sidecar, request_bytes(target)).status == 404


class TestBodies:
    @pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 405)])
    @pytest.mark.parametrize(
        "rest",
        [
            b"Content-Length: 5\r\n\r\n",
            b"Content-Length: 5\r\n\r\nab",
            b"Content-Length: 5\r\n\r\nabcdefgh",
            b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000,
            b"Content-Length: 99999999999999999999\r\n\r\nx",
            b"Content-Length: x\r\n\r\n" + b"x" * 300_000,
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n",
        ],
        ids=lambda rest: rest[:45].decode(),
    )
    def test_nobody_waits_for_them(self, sidecar, method, status, rest):
        data = method.encode() + b" /livez HTTP/1.1\r\nHost: x\r\n" + rest
        began = time.monotonic()
        received = exchange(sidecar.address[:2], data)
        if rest.startswith(b"Expect"):
            first, _, received = received.partition(b"\r\n\r\n")
            assert first.startswith(b"HTTP/1.1 100 ")
        assert parsed(received).status == status
        assert time.monotonic() - began < SOON

    def test_one_who_asks_before_sending(self, sidecar, connect):
        connection = connect(sidecar)
        connection.sendall(b"POST /livez HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        received = connection.recv(65_536)
        assert received.startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abcde")
        received += b"".join(iter(lambda: connection.recv(65_536), b""))
        assert parsed(received.partition(b"\r\n\r\n")[2]).status == 405

    def test_one_who_never_stops(self, sidecar, connect):
        connection = connect(sidecar)
        connection.sendall(b"POST /livez HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n")

        def is_cut_off():
            try:
                connection.sendall(b"x" * 1_000)
            except OSError:
                return True
            return False

        when(is_cut_off, every=0.05)


class TestCrowds:
    def test_those_who_drip_do_not_keep_others_out(self, sidecar, connect):
        drips = {connect(sidecar) for _ in range(2 * module.MOST_CONNECTIONS + 2)}
        is_over = threading.Event()

        def drip():
            while not is_over.wait(0.3):
                for connection in list(drips):
                    try:
                        connection.sendall(b"G")
                    except OSError:
                        drips.discard(connection)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert is_answered(sidecar) < SOON
            # There is nobody else, and yet none of them may stay.
            when(lambda: not drips, lambda: f"{len(drips)} are still there")
        finally:
            is_over.set()
            thread.join()

    def test_neither_do_those_who_keep_their_body(self, sidecar, connect):
        for _ in range(2 * module.MOST_CONNECTIONS + 2):
            connect(sidecar).sendall(b"POST /livez HTTP/1.1\r\nContent-Length: 60000\r\n\r\nx")
        assert is_answered(sidecar) < SOON

    def test_who_has_asked_is_not_cut_off_for_others(self, sidecar, seen, connect):
        seen.go.clear()
        asked = connect(sidecar)
        asked.sendall(request_bytes("/health"))
        when(lambda: seen.requests)
        for _ in range(2 * module.MOST_CONNECTIONS):
            connect(sidecar)
        is_answered(sidecar)
        is_answered(sidecar)
        seen.go.set()
        assert parsed(b"".join(iter(lambda: asked.recv(65_536), b""))).status == 200

    def test_without_descriptors_it_waits(self, sidecar, monkeypatch):
        calls, accept = [], sidecar._server.socket.accept

        class Socket:
            def __init__(self, real):
                self.real = real

            def accept(self):
                calls.append(time.monotonic())
                if len(calls) <= 5:
                    raise OSError(errno.EMFILE, "too many open files")
                return accept()

            def __getattr__(self, name):
                return getattr(self.real, name)

        monkeypatch.setattr(sidecar._server, "socket", Socket(sidecar._server.socket))
        is_answered(sidecar)
        assert calls[5] - calls[0] > 0.4


class TestEnd:
    def closes_soon(self, sidecar):
        began = time.monotonic()
        sidecar.close()
        assert time.monotonic() - began < SOON
        sidecar.close()
        with pytest.raises(OSError), socket.create_connection(sidecar.address[:2], 5):  # noqa: PT011
            pass

    def test_while_authorize_hangs(self, health, seen, connect):
        sidecar = health.serve(port=0)
        seen.go.clear()
        connections = []
        for _ in range(module.MOST_CONNECTIONS + 10):
            connections.append(connect(sidecar))
            connections[-1].sendall(request_bytes("/dashboard"))
        when(lambda: len(seen.requests) == module.MOST_CONNECTIONS)
        self.closes_soon(sidecar)
        for connection in connections:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""

    def test_while_many_are_slow(self, health, connect):
        sidecar = health.serve(port=0)
        connections = [connect(sidecar) for _ in range(module.MOST_CONNECTIONS + 10)]
        self.closes_soon(sidecar)
        for connection in connections:
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(1) == b""

    def test_by_several_at_once(self, health):
        sidecar = health.serve(port=0)
        threads = [threading.Thread(target=sidecar.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert not any(thread.is_alive() for thread in threads)
        self.closes_soon(sidecar)

    def test_with_and_twice(self, health):
        with health.serve(port=0) as sidecar:
            is_answered(sidecar)
            self.closes_soon(sidecar)
        self.closes_soon(sidecar)
        host, port = sidecar.address
        with health.serve(host, port) as again:
            assert again.address == sidecar.address
            is_answered(again)

    def test_none_is_kept_after_it(self, health):
        sidecar = health.serve(port=0)
        server = weakref.ref(sidecar._server)
        assert server() in module._serving
        sidecar.close()
        assert server() not in module._serving
        del sidecar
        when(lambda: gc.collect() is not None and server() is None)

    def test_without_a_thread_the_port_is_free_again(self, health, monkeypatch):
        with health.serve(port=0) as sidecar:
            host, port = sidecar.address
        before, start = set(module._serving), threading.Thread.start

        def refuse(thread):
            if "sidecar" in thread.name:
                raise RuntimeError("can't start new thread")
            start(thread)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError):
                health.serve(host, port)
        assert module._serving == before
        with health.serve(host, port) as sidecar:
            is_answered(sidecar)

    def test_a_port_that_is_taken(self, health, sidecar):
        before = set(module._serving)
        with pytest.raises(OSError, match=re.escape(os.strerror(errno.EADDRINUSE))):
            health.serve(*sidecar.address)
        assert module._serving == before
        is_answered(sidecar)


class TestAddresses:
    def test_ipv6(self, health):
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("there is no ::1 here")
        with health.serve("::1", 0) as sidecar:
            assert sidecar.url == f"http://[::1]:{sidecar.address[1]}"
            is_answered(sidecar)


@needs_fork
class TestForks:
    def test_a_child_does_not_keep_the_port(self):
        # Nobody keeps the first of them; of the second the child closes what it has of it.
        done = run_script(
            """
            import gc, os, socket, warnings
            from urllib.request import urlopen
            from khronos_fast.health import HealthCollector

            warnings.simplefilter("ignore", DeprecationWarning)     # forking beside threads is what this is about
            health = HealthCollector("shop")
            port = health.serve(port=0).address[1]
            sidecar = health.serve(port=0)
            gc.collect()
            waiting = socket.create_connection(("127.0.0.1", port))
            urlopen(f"http://127.0.0.1:{port}/livez").close()

            ready, go = os.pipe(), os.pipe()
            child = os.fork()
            if not child:
                sidecar.close()
                sidecar.close()
                for descriptor in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
                    try:
                        link = os.readlink(f"/proc/self/fd/{descriptor}")
                    except OSError:
                        continue
                    if link.startswith("socket:"):
                        held = socket.socket(fileno=os.dup(int(descriptor)))
                        if held.family == socket.AF_INET:
                            assert held.getsockname()[1] not in (port, sidecar.address[1]), held
                os.write(ready[1], b"x")
                os.read(go[0], 1)
                os._exit(0)
            assert os.read(ready[0], 1) == b"x"
            for each in (port, sidecar.address[1]):
                urlopen(f"http://127.0.0.1:{each}/livez").close()
            os.write(go[1], b"x")
            assert os.waitpid(child, 0)[1] == 0
            sidecar.close()
            health.stop()
            """
        )
        assert done.stderr == ""
