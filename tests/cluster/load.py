"""A small load generator: as many connections as wanted, kept alive, and on each one request after the other."""

import asyncio
import itertools
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
PATIENCE = 60.0  # seconds for an answer
PAUSE = 0.01  # after a connection that could not be made


class Request(NamedTuple):
    """What is sent, and what the body of the answer begins with if it is the right one."""

    data: bytes
    expected: bytes


def request(path: str, expected: str = "{", *, method: str = "GET", body: str = "") -> Request:
    """A request, ready to be sent."""
    length = f"Content-Length: {len(body.encode())}\r\n" if body else ""
    return Request(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}".encode(), expected.encode())


@dataclass
class Report:
    """What came of it. A failure is an answer that is not 200, or the wrong one, or none."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def answers(self) -> int:
        """Requests that were answered."""
        return len(self.times)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds

    def percentile(self, percent: float) -> float:
        """The time, in seconds, in which that many of the answers came."""
        return sorted(self.times)[min(int(self.answers * percent / 100), self.answers - 1)]


async def run_load(port: int, requests: Iterable[Request], connections: int) -> Report:
    """Send all these requests over so many connections."""
    report, waiting = Report(), iter(requests)
    began = time.perf_counter()
    await asyncio.gather(*[_converse(port, waiting, report) for _ in range(connections)])
    report.seconds = time.perf_counter() - began
    return report


async def _converse(port: int, requests: Iterator[Request], report: Report) -> None:
    writer = None
    for data, expected in requests:
        began = time.perf_counter()
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                began = time.perf_counter()
            writer.write(data)
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError) as error:
            report.failures[f"{type(error).__name__} at {data[:40]!r}"] += 1
            if writer is None:
                await asyncio.sleep(PAUSE)
            else:
                writer.close()
                writer = None
            continue
        if head[9:12] == b"200" and body.startswith(expected):
            report.times.append(time.perf_counter() - began)
        else:
            report.failures[f"{head[9:12].decode()} {body[:60]!r} at {data[:40]!r}"] += 1
        if CLOSES.search(head):
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


class Load:
    """A load in a thread of its own, which goes on until the block ends, and until there were enough requests."""

    def __init__(self, port: int, choose: Callable[[int], Request], *, connections: int, at_least: int) -> None:
        self.sent = 0
        self._port, self._choose, self._connections, self._at_least = port, choose, connections, at_least
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.report = Report()

    def _requests(self) -> Iterator[Request]:
        for number in itertools.count():
            if number >= self._at_least and self._end.is_set():
                return
            self.sent = number
            yield self._choose(number)

    def _run(self) -> None:
        self.report = asyncio.run(run_load(self._port, self._requests(), self._connections))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()
