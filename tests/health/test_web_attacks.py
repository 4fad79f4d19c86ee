"""Paths in disguise, methods that are none, and what is sent to the sidecar to make it stumble: nobody gets in by
that, and whoever comes next is served.
"""

import contextlib
import json
import re
import socket
import struct
import threading
import time
from urllib.parse import unquote

import pytest

from khronos_fast import MemoryCache
from khronos_fast.health import bearer

from .web import ALONE, EVERYWHERE, HELLO, ROUTES, SOCKET_FACES, when
from .web_transport import PATIENCE, exchange, request_bytes

CLASSIFIED = "classified"
TOKEN = {"Authorization": "Bearer t0ken"}

# What some server, proxy or framework somewhere takes for a route.
DISGUISES = [
    "/dashboard/../metrics",
    "/health/../dashboard",
    "/livez/..%2fdashboard",
    "/livez/%2e%2e/dashboard",
    "/livez/..;/dashboard",
    "/./dashboard",
    "/dashboard/.",
    "/dashboard/./memory",
    "//dashboard",
    "///dashboard///memory",
    "/dashboard//memory",
    "/dashboard%2fmemory",
    "/dashboard%252fmemory",
    "/dashboard\\memory",
    "/dashboard/",
    "/metrics/",
    "/METRICS",
    "/Dashboard",
    "/dashboard;x",
    "/health;/dashboard",
    "/dashboard;jsessionid=1/memory",
    "/%64ashboard",
    "/%6detrics",
    "/%2fdashboard",
    "/dashboard%00",
    "/dashboard%00/memory",
    "/livez%00/dashboard",
    "/dashboard%0d%0aX-Smuggled:%201",
    "/dashboard%20",
    "/%20dashboard",
    "/dashboard%3fx",
    "/dashboard%23x",
    "/health%3f/../dashboard",
    "/dashboard.json",
    "/dashboard.html",
    "/dashboard%c0%ae",
    "/%ff%fe/dashboard",
    "/d%e2%80%8bashboard",
    "/%ef%bd%84ashboard",
    "/health/dashboard",
    "/livez/dashboard",
    "/readyz/metrics",
    "/ops/dashboard",
    "/internal/ops/dashboard",
    "dashboard",
    "",
    "*",
    "/",
    "/" + "a" * 20_000,
    "/" * 20_000 + "dashboard",
    "/dashboard/" + "../" * 5_000 + "dashboard",
    "/health?" + "x=1&" * 5_000,
    "/livez?/dashboard",
    "/health?authorize=1&admin=true",
    "/health?x=/../dashboard",
]


@pytest.fixture
def health(wardrobe):
    health = wardrobe.collector(name=CLASSIFIED, authorize=bearer("t0ken"))
    health.register(CLASSIFIED, MemoryCache(10))
    health.check(f"{CLASSIFIED} check", lambda: True)
    health.start()
    return health


@pytest.fixture
def wear(wardrobe, health):
    return lambda name: wardrobe.wear(name, health)


@pytest.fixture
def sidecar(wear):
    return wear("sidecar")


def gives_nothing_away(answer):
    """It may be an answer of the application or the server, or a probe's; there is nothing in it that is hidden."""
    assert CLASSIFIED not in answer.everything()
    assert "Traceback" not in answer.everything()
    assert "x-smuggled" not in {key.lower() for key, _ in answer.pairs}
    if answer.status == 200 and answer.body and answer.body != HELLO:
        assert json.loads(answer.body).keys() == {"status", "pid", "worker"}
    return answer


@EVERYWHERE
class TestDisguises:
    def test_nobody_gets_in_by_another_name(self, wear, name):
        face = wear(name)
        for path in DISGUISES:
            if name in SOCKET_FACES and not path.startswith("/"):
                continue
            for headers in ({}, {"Accept": "text/html"}, {"X-Original-URL": "/dashboard", "X-Rewrite-URL": "/metrics"}):
                answer = gives_nothing_away(face.get(path, headers))
                assert answer.status < 500 or name in SOCKET_FACES

    def test_headers_do_not_choose_the_route(self, wear, name):
        face = wear(name)
        for key in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name", "X-Forwarded-Path"):
            answer = gives_nothing_away(face.get("/livez", {key: "/dashboard"}))
            assert answer.status == 200
        for key in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
            assert face.get("/livez", {key: "GET"}, "POST").status == 405

    def test_even_for_those_who_may_a_route_has_one_name(self, wear, name):
        if name not in ALONE:
            pytest.skip("what is no route is the application's")
        face = wear(name)
        for path in DISGUISES:
            if unquote(path.split("?")[0]) in ROUTES:  # what a server decodes is the same name
                continue
            answer = face.get(path, TOKEN)
            assert answer.status in (400, 404, 414), (path, answer)
            assert CLASSIFIED not in answer.everything()


class TestRoots:
    ROOTS = [
        *(
            "/ops",
            "/ops/",
            "/",
            "//",
            "/dashboard",
            "/dash",
            "/dashboard/",
            "ops",
            "/health",
            "/livez",
            "/../",
            "/ops/..",
        ),
        "/ops\0",
    ]
    PATHS = [
        "/dashboard",
        "/ops/dashboard",
        "/dashboard/dashboard",
        "/opsdashboard",
        "//dashboard",
        "",
        "/ops",
        "dashboard",
    ]

    def test_a_root_path_opens_nothing(self, wear):
        for name in ("asgi", "asgi-prefix", "starlette-mounted", "starlette-middleware"):
            face = wear(name)
            for root in self.ROOTS:
                for path in [*self.PATHS, root + "/dashboard", root + "dashboard", root + "/livez/dashboard"]:
                    gives_nothing_away(face.ask(path.replace("\0", "%00"), root_path=root))

    def test_neither_does_a_script_name(self, wear):
        for name in ("wsgi", "wsgi-prefix", "flask", "flask-mounted"):
            face = wear(name)
            for root in self.ROOTS:
                if not root.startswith("/") or root == "/":
                    continue  # that is none
                for path in self.PATHS:
                    if path.startswith("/"):
                        gives_nothing_away(face.ask(path, SCRIPT_NAME=root))


@EVERYWHERE
class TestMethods:
    def test_no_method_gets_in(self, wear, name):
        face = wear(name)
        for method in (
            "POST",
            "PUT",
            "DELETE",
            "TRACE",
            "OPTIONS",
            "PROPFIND",
            "PATCH",
            "BREW",
            "CONNECT",
            "G" * 1_000,
        ):
            for path in ("/dashboard", "/livez", "/metrics"):
                answer = gives_nothing_away(face.get(path, method=method))
                if name not in SOCKET_FACES:
                    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD"), (method, path)
                assert answer.status in (400, 405, 501)
        for method in ("get", "Get", "head"):
            answer = gives_nothing_away(face.get("/dashboard", method=method))
            assert answer.status in (400, 401, 405, 501)

    def test_a_body_does_not_matter(self, wear, name):
        face = wear(name)
        for body in (b"x", b"{}" * 5_000, b"x" * 3_000_000):
            with contextlib.suppress(OSError):  # a server may hang up on it
                assert face.get("/livez", method="POST", body=body).status == 405
        assert face.get("/livez", body=b"x" * 1_000).status == 200
        assert face.get("/livez").status == 200
        assert gives_nothing_away(face.get("/dashboard", body=b"Authorization: Bearer t0ken\r\n\r\n")).status == 401


def answers_in(data):
    """How many answers there are in what a connection brought."""
    return len(re.findall(rb"HTTP/1\.[01] \d{3} ", data))


class TestSidecar:
    """It is read by whatever can reach its port."""

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\r\n",
            b"\r\n\r\n\r\n",
            b"\0" * 1_000,
            b"GARBAGE\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET /dashboard\r\n\r\n",
            b"GET /dashboard HTTP/0.9\r\n\r\n",
            b"GET /dashboard HTTP/1.0\r\n\r\n",
            b"GET /dashboard HTTP/1.1\n\n",
            b"GET /dashboard HTTP/2.0\r\n\r\n",
            b"GET /dashboard HTTP/9.9\r\n\r\n",
            b"GET /dashboard HTTP/1.1.1\r\n\r\n",
            b"GET /dashboard HTTP/\xff\r\n\r\n",
            b"GET /dashboard FTP/1.1\r\n\r\n",
            b"GET  /dashboard  HTTP/1.1\r\n\r\n",
            b"GET /dashboard /livez HTTP/1.1\r\n\r\n",
            b"GET\t/dashboard\tHTTP/1.1\r\n\r\n",
            b"GET http://127.0.0.1/dashboard HTTP/1.1\r\n\r\n",
            b"GET http://user:pw@elsewhere/dashboard HTTP/1.1\r\nHost: x\r\n\r\n",
            b"CONNECT elsewhere:443 HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 500,
            b"GET /dash\0board HTTP/1.1\r\n\r\n",
            b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
            b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
            b"G" * 1_000_000,
            b"GET /dashboard HTTP/1.1\r\nNo colon\r\n\r\n",
            b"GET /dashboard HTTP/1.1\r\n: no name\r\n\r\n",
            b"GET /dashboard HTTP/1.1\r\nX: a\r\n b\r\n\tc\r\n\r\n",
            b"GET /dashboard HTTP/1.1\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
            b"GET /dashboard HTTP/1.1\r\n" + b"X: 1\r\n" * 10_000 + b"\r\n",
            b"GET /dashboard HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(10_000)) + b"\r\n",
            b"GET /dashboard HTTP/1.1\r\nX: \0\xff\r\n\r\n",
            b"GET /dashboard HTTP/1.1\r\nAuthorization : Bearer t0ken\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            b"GET /livez HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ],
        ids=lambda data: data[:40].decode("latin-1").encode("unicode_escape").decode(),
    )
    def test_bad_requests(self, sidecar, data, capfd):
        with socket.create_connection(sidecar.address, PATIENCE) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65_536):
                    received += part
        assert CLASSIFIED.encode() not in received
        if received.startswith(b"HTTP/"):
            status = int(received.split()[1])
            assert status in (100, 200, 400, 401, 404, 405, 413, 414, 417, 426, 431, 501, 505), received
        if b"/dashboard" in data:
            assert b" 200 " not in received.partition(b"\r\n")[0]
        assert sidecar.get("/livez").status == 200
        printed = capfd.readouterr()
        assert printed.out + printed.err == ""

    @pytest.mark.parametrize(
        "head",
        [
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
            b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
            b"HEAD /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
            b"GET /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
            b"GET /dashboard HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: %d\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Length: 0\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: +%d\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d, 0\r\n\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
            b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n%x\r\n",
            b"POST /dashboard HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n",
        ],
    )
    def test_a_body_is_not_a_request(self, sidecar, head):
        inner = b"GET /dashboard HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer t0ken\r\n\r\n"
        data = head % len(inner) + inner
        if b"chunked" in head:
            data += b"\r\n0\r\n\r\n"
        with socket.create_connection(sidecar.address, PATIENCE) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(65_536):
                    received += part
        assert answers_in(received) == 1, received
        assert CLASSIFIED.encode() not in received

    def test_those_who_keep_a_connection_get_an_answer_each(self, sidecar):
        # It may hang up after each; if it does not, the next request has an answer of its own.
        one = request_bytes("/livez", keep=True)
        last = request_bytes("/nowhere")
        received = exchange(sidecar.address, one + one + last)
        assert received.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
        assert answers_in(received) in (1, 3)

    def test_the_slow_do_not_keep_the_others_waiting(self, sidecar, capfd):
        beginnings = [b"", b"G", b"GET /livez HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\nHost: x", b"\x16\x03"]
        with contextlib.ExitStack() as stack:
            slow = [stack.enter_context(socket.create_connection(sidecar.address, PATIENCE)) for _ in range(200)]
            for number, connection in enumerate(slow):
                connection.sendall(beginnings[number % len(beginnings)])
            for _ in range(20):
                began = time.monotonic()
                assert sidecar.get("/livez").status == 200
                assert sidecar.get("/dashboard", TOKEN).status == 200
                assert time.monotonic() - began < 20
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")
            assert sidecar.get("/livez").status == 200
        assert sidecar.get("/livez").status == 200
        printed = capfd.readouterr()
        assert printed.out + printed.err == ""

    def test_those_who_do_not_read_do_not_either(self, sidecar):
        with contextlib.ExitStack() as stack:
            for _ in range(50):
                deaf = stack.enter_context(socket.socket())
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
                deaf.settimeout(PATIENCE)
                deaf.connect(sidecar.address)
                with contextlib.suppress(OSError):
                    deaf.sendall(request_bytes("/dashboard", {**TOKEN, "Accept": "text/html"}, keep=True))
            for _ in range(10):
                assert sidecar.get("/dashboard", TOKEN).status == 200

    def test_those_who_hang_up_are_not_complained_about(self, sidecar, capfd, caplog):
        abort = struct.pack("ii", 1, 0)
        for number in range(60):
            with socket.create_connection(sidecar.address, PATIENCE) as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
                data = request_bytes("/dashboard", TOKEN, keep=True)
                connection.sendall(data[: number * 3])
        assert sidecar.get("/livez").status == 200
        printed = capfd.readouterr()
        assert printed.out + printed.err == ""
        assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []

    def test_it_ends_though_others_hold_on_to_it(self, wardrobe, health):
        before = threading.active_count()
        sidecar = health.serve(port=0)
        with contextlib.ExitStack() as stack:
            for data in (b"", b"GET /livez HTTP/1.1\r\n", request_bytes("/livez", keep=True)) * 5:
                connection = stack.enter_context(socket.create_connection(sidecar.address[:2], PATIENCE))
                connection.sendall(data)
            began = time.monotonic()
            sidecar.close()
            assert time.monotonic() - began < 20
            sidecar.close()
        when(lambda: threading.active_count() <= before + 1, lambda: f"left: {threading.enumerate()}")
        with pytest.raises(OSError), socket.create_connection(sidecar.address[:2], 5):  # noqa: PT011
            pass

    def test_threads_do_not_pile_up(self, sidecar):
        for _ in range(20):
            sidecar.get("/livez")
        before = threading.active_count()
        for _ in range(300):
            sidecar.get("/livez")
        when(lambda: threading.active_count() <= before + 5, lambda: f"{threading.active_count()} threads")
