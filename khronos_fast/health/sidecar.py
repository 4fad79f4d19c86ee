"""`Sidecar`: the collector at a port of its own, for services that speak no HTTP, and for one port a worker.

Each connection is answered once, by a thread of its own, and closed. There is a bounded number of such threads, and who
is slow to say what it wants holds one for a few seconds: for `ENOUGH` when others wait. So many slow clients make the
others wait, by that long for each `MOST_CONNECTIONS` of them, and do not keep them out. HTTP itself is the
standard library's; only what it is too lenient with is refused before.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import threading
import time
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote

from khronos_fast.health.authorization import Request
from khronos_fast.health.handler import NOT_FOUND, error
from khronos_fast.health.options import parse_text
from khronos_fast.health.wsgi import run

if TYPE_CHECKING:
    from types import TracebackType

    from khronos_fast.health.collector import HealthCollector
    from khronos_fast.health.handler import Reply

MOST_CONNECTIONS = 64
"""That are answered at a time; more wait to be accepted."""
PATIENCE = 2.0
"""Seconds that a client may let pass between two pieces of its request, and for taking its answer."""
HEARING = 3.0
"""Seconds for a request, however steadily the client sends; and once more for what it sends besides."""
ENOUGH = 2.0
"""Seconds after which a client that has not said what it wants may be cut off, when others wait for its place."""
LONGEST = 15.0
"""Seconds for a request and its answer."""
LARGEST_HEADER = 32_768
"""Bytes of all headers together. The line before them may have 64 KB, which is the standard library's limit."""

TOKEN = rb"[!#-'*+.^_`|~\w-]+"
REQUEST_LINE = re.compile(TOKEN + rb" [!-~]+ HTTP/[1-9]\.[0-9]\r\n")
"""Older versions have answers without a status; newer ones are the standard library's to refuse."""
HEADER_LINE = re.compile(TOKEN + rb":[^\0\r\n]*\r\n")
"""The parser takes a CR or LF within a line for the next header, and what has no name for the end of all headers."""
ORIGIN = re.compile("^https?://[^/?]+", re.IGNORECASE)


class Sidecar:
    """Answers at a port of its own until it is closed: see `HealthCollector.serve`.

    >>> from urllib.request import urlopen
    >>> from khronos_fast.health import HealthCollector
    >>> with HealthCollector("shop").serve(port=0) as sidecar:
    ...     with urlopen(f"{sidecar.url}/livez") as answer:
    ...         answer.status
    200
    """

    def __init__(self, collector: HealthCollector, host: str, port: int) -> None:
        parse_text(host, "host")
        if isinstance(port, bool) or not isinstance(port, int):
            raise TypeError(f"port must be an int, not {port!r}")
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be from 0 to 65535, not {port}")
        self._server = _Server(collector, host, port)
        address = self._server.server_address
        self.address: tuple[str, int] = (str(address[0]), int(address[1]))
        """Host and port."""
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name=f"khronos_fast sidecar {self.address[1]}",
            daemon=True,
        )
        self._pid = os.getpid()
        # One closes at a time: without the GIL, two who close a socket close its descriptor twice, and by the second
        # time it may be somebody else's. A signal handler may close what its thread is closing, and takes it again.
        self._closing = threading.RLock()
        try:
            collector.start()
            self._thread.start()
        except BaseException:
            self._server.server_close()
            raise

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        return f"http://{host}:{self.address[1]}"

    def close(self) -> None:
        """Answer no more, and hang up on who is still there. The collector goes on. It may be called again."""
        if self._pid == os.getpid() and self._thread.is_alive():
            self._server.is_closing = True
            self._server.shutdown()
            self._thread.join()
        with self._closing:
            self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    # On Windows this would let another program take the same port.
    allow_reuse_address = os.name == "posix"

    def __init__(self, collector: HealthCollector, host: str, port: int) -> None:
        self.collector = collector
        self.is_closing = False
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        # Who is cut off is not closed meanwhile: its descriptor could be somebody else's by then.
        self._lock = threading.Lock()
        self._open: dict[Any, float] = {}  # by connection: since when
        self._heard: dict[Any, float] = {}  # those that are still listened to, likewise; the oldest is the first
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Conversation)

    def server_bind(self) -> None:
        _serving.add(self)
        # Where a client that has hung up is no longer there to be accepted, that would wait for the next one.
        self.socket.settimeout(0.5)
        # Not HTTPServer's, which asks the name server for this machine's name.
        super(ThreadingHTTPServer, self).server_bind()

    def server_close(self) -> None:
        super().server_close()
        _serving.discard(self)
        with self._lock:
            for request in self._open:
                _cut(request)

    def leave(self) -> None:
        """Let go of all, in a forked child: it is the parent's, and would stay open after the parent's end."""
        self._lock = threading.Lock()
        self.socket.close()
        for request in self._open:
            with contextlib.suppress(OSError):
                os.close(request.detach())  # close() would wait for the files that were made of it
        self._open.clear()

    def get_request(self) -> tuple[Any, Any]:
        try:
            return super().get_request()
        except OSError:
            # Without a descriptor for it the client stays where it is, and would be asked in at once again.
            time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        # Nobody is accepted beyond what there is room for: the system lets them wait.
        while not self._room.acquire(timeout=0.02):
            if self.is_closing:
                self.shutdown_request(request)
                return
            self.service_actions()
            self._make_room()
        with self._lock:
            self._open[request] = self._heard[request] = time.monotonic()
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._heard.pop(request, None)
            had_room = self._open.pop(request, None) is not None
        super().close_request(request)
        if had_room:
            self._room.release()

    def service_actions(self) -> None:
        """Cut off those who take too long."""
        now = time.monotonic()
        with self._lock:
            for request, since in self._open.items():
                if now > min(since + LONGEST, self._heard.get(request, now) + HEARING):
                    _cut(request)

    def _make_room(self) -> None:
        with self._lock:
            oldest = next(iter(self._heard), None)
            if oldest is not None and time.monotonic() > self._heard[oldest] + ENOUGH:
                del self._heard[oldest]
                _cut(oldest)

    def is_heard(self, request: Any, is_heard: bool) -> None:
        """Note whether a client still has to say something, for which it does not have long."""
        with self._lock:
            if not is_heard:
                self._heard.pop(request, None)
            elif request in self._open:
                self._heard.setdefault(request, time.monotonic())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's business."""


def _cut(request: Any) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _MalformedError(Exception): ...


class _Headers(io.BufferedIOBase):
    """The lines of a request's headers, for the parser: only proper ones, up to the empty one, and not too many."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._left = LARGEST_HEADER

    def readline(self, _size: int | None = -1, /) -> bytes:
        line = self._file.readline(self._left + 1)
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("header")
        if line != b"\r\n" and not HEADER_LINE.fullmatch(line):
            raise _MalformedError
        return line


class _Conversation(BaseHTTPRequestHandler):
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]  # nobody else makes one
    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server_version = "khronos_fast"
    sys_version = ""

    def handle(self) -> None:
        # What is no HTTP, like the beginning of TLS, need not have an end of line that could be waited for.
        first = self.connection.recv(1, socket.MSG_PEEK)
        if first.isalpha():
            self.handle_one_request()
        elif first:
            self.send_error(400)

    def parse_request(self) -> bool:
        if not REQUEST_LINE.fullmatch(self.raw_requestline):
            self.send_error(400)
            return False
        file = self.rfile
        self.rfile = _Headers(file)
        try:
            is_parsed = super().parse_request()
        except _MalformedError:
            self.send_error(400)
            return False
        finally:
            self.rfile = file
        # As it was sent: the standard library makes one slash of several at the beginning.
        self.path = ORIGIN.sub("", self.requestline.split(" ")[1])
        return is_parsed

    def _answer(self) -> None:
        self.server.is_heard(self.request, False)
        path, _mark, query = self.path.partition("?")
        path = unquote(path)
        handler = self.server.collector.handler
        if handler.knows(path):
            headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
            plan = handler.plan(Request(self.command, path, headers, query))
            self._write(run(self.server.collector, plan))
        else:
            self._write(NOT_FOUND)
        if self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers:
            self._hear_out()

    def _write(self, answer: Reply) -> None:
        self.close_connection = True
        self.request_version = self.protocol_version  # what was asked in another one has no status line otherwise
        self.send_response_only(answer.status)
        for name, value in (*answer.headers, ("connection", "close")):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _hear_out(self) -> None:
        """Read what the client still sends: closing on it would take the answer from it."""
        self.server.is_heard(self.request, True)
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(65_536):
            pass

    def __getattr__(self, name: str) -> Any:
        # Whatever the method is: what may be done is the handler's to say.
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def send_error(self, code: int, *_: Any, **__: Any) -> None:
        """Answer a request that is none, in JSON like everything else, and without a word of it."""
        self.command = getattr(self, "command", None) or "GET"
        with contextlib.suppress(OSError):
            self._write(error(code, "that is no request that could be answered"))
            self._hear_out()

    def log_message(self, *_: Any, **__: Any) -> None:
        """Whoever asks is logged by nobody."""


_serving: set[_Server] = set()  # also those whose sidecar nobody has kept


def _after_fork() -> None:
    for server in _serving:
        server.leave()
    _serving.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
