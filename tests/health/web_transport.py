"""One request, by each of the ways that there are: as an ASGI scope, a WSGI environ, or bytes over a socket.

Targets, methods and headers are sent as they are: nothing on the way tidies them, and what comes back is seen whole.
"""

import asyncio
import contextlib
import http.client
import io
import json
import socket
import threading
import wsgiref.validate
from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from tiers.servers import PATIENCE


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    pairs: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name):
        return [value for key, value in self.pairs if key.lower() == name]

    def header(self, name):
        """The one value of a header; None without it."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None

    @property
    def text(self):
        return self.body.decode()

    def json(self):
        assert self.header("content-type").startswith("application/json"), self
        return json.loads(self.body)

    def everything(self):
        """All that was sent, as one text."""
        return repr(self.pairs) + self.body.decode("utf-8", "backslashreplace")


def encoded(headers):
    """Headers, of a dict or of pairs, as bytes: text is sent in UTF-8."""
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(key.encode(), value if isinstance(value, bytes) else value.encode()) for key, value in pairs]


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="loop of a test", daemon=True)
        self.thread.start()

    def begin(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine):
        return self.begin(coroutine).result(PATIENCE)

    def close(self):
        async def end_tasks():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.loop.shutdown_default_executor()

        self.run(end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


# ---------------------------------------------------------------------- ASGI


def http_scope(target, headers=(), method="GET", **more):
    """What a server makes of a request."""
    raw, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(key.lower(), value) for key, value in [(b"host", b"localhost"), *encoded(headers)]],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
        "state": {},
    } | more


async def call_asgi(app, scope, body=b""):
    """Call an application once, and see that it keeps to the protocol."""
    sent, done = [], asyncio.Event()
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if parts:
            return parts.pop()
        await done.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        assert not done.is_set(), f"{message} after the end"
        assert message["type"] == ("http.response.body" if sent else "http.response.start")
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            done.set()

    await app(scope, receive, send)
    assert done.is_set(), "the answer has no end"
    start, *bodies = sent
    for key, value in start["headers"]:
        assert type(key) is type(value) is bytes
    pairs = tuple((key.decode("ascii"), value.decode("latin-1")) for key, value in start["headers"])
    return Answer(start["status"], pairs, b"".join(message.get("body", b"") for message in bodies))


# ---------------------------------------------------------------------- WSGI

KNOWN_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PATCH", "PUT", "DELETE", "TRACE")


def environ(target, headers=(), method="GET", body=b"", **more):
    """What a server makes of a request: of a header that comes several times, one value."""
    raw, _, query = target.partition("?")
    made = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(raw).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if body:
        made["CONTENT_LENGTH"] = str(len(body))
    for key, value in [(b"Host", b"localhost"), *encoded(headers)]:
        variable = "HTTP_" + key.decode().upper().replace("-", "_")
        text = value.decode("latin-1")
        made[variable] = f"{made[variable]},{text}" if variable in made else text
    return made | more


def call_wsgi(app, given):
    """Call an application once; where the request is a proper one, a judge sees that it keeps to the protocol."""
    if given["REQUEST_METHOD"] in KNOWN_METHODS and given["PATH_INFO"].startswith("/"):
        app = wsgiref.validate.validator(app)
    started, errors = [], given["wsgi.errors"]

    def start_response(status, headers, exc_info=None):
        assert not started or exc_info is not None
        started[:] = [(status, headers)]
        return lambda data: None

    parts = app(given, start_response)
    try:
        body = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    [(status, headers)] = started
    assert errors.getvalue() == ""
    return Answer(int(status.split()[0]), tuple(headers), body)


# ---------------------------------------------------------------------- sockets


def request_bytes(target, headers=(), method="GET", body=b"", *, keep=False):
    """A request as it goes over the wire."""
    pairs = [(b"Host", b"localhost"), *encoded(headers)]
    if body:
        pairs.append((b"Content-Length", b"%d" % len(body)))
    if not keep:
        pairs.append((b"Connection", b"close"))
    lines = [f"{method} {target} HTTP/1.1".encode(), *(b"%s: %s" % pair for pair in pairs)]
    return b"\r\n".join([*lines, b"", body])


def exchange(address, data, timeout=PATIENCE):
    """Send this, say that there is no more, and read until the other side has closed the connection."""
    received = []
    with socket.create_connection(address, timeout) as connection:
        # A server may answer, and close, before it has read all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65_536):
                received.append(part)
    return b"".join(received)


class _Bytes:
    """What `http.client` reads an answer from."""

    def __init__(self, data):
        self.data = data

    def makefile(self, *_):
        return io.BytesIO(self.data)


def parsed(data, method="GET"):
    """The one answer that these bytes are: not a byte more, and not one less."""
    response = http.client.HTTPResponse(_Bytes(data), method=method)
    response.begin()
    pairs = tuple(response.getheaders())
    answer = Answer(response.status, pairs, data.partition(b"\r\n\r\n")[2])
    if (length := answer.header("content-length")) is not None:
        assert len(answer.body) == (0 if method == "HEAD" else int(length)), answer
    return answer
