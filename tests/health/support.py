"""What the tests of health share: a look at a collector, requests to it, and what waits, hangs and keeps secrets."""

import collections
import contextlib
import datetime
import decimal
import enum
import io
import json
import math
import threading
from typing import NamedTuple

from memo.support import FREE_THREADED, PATIENCE, LoopThread, Task, drive, run_script, settle, together, until, wait
from tiers.servers import BINARIES, NEEDED, Server, when

__all__ = [
    "BINARIES",
    "FREE_THREADED",
    "NEEDED",
    "PATIENCE",
    "LoopThread",
    "Server",
    "Task",
    "drive",
    "run_script",
    "settle",
    "together",
    "until",
    "wait",
    "when",
]

# Seconds between samples, where a test is about what comes with the next one.
QUICK = 0.02
# Longer than any test takes: what comes with the next sample does not come.
LONG = 10_000.0
SECRET = "s3cr3t-t3xt"

ENTRY = {"kind", "status"}
CACHE = {"gets", "hits", "misses", "hit_ratio", "size", "maxsize", "evictions", "puts"}
HISTOGRAM = {"bounds", "counts", "seconds"}
CHECK = {"status", "critical", "reason", "error", "seconds"}
STATUSES = {"UP", "DEGRADED", "OUT_OF_SERVICE", "DOWN", "UNKNOWN"}


class Secretive:
    """An object of somebody else's: nothing that it says of itself may be passed on."""

    def __repr__(self):
        return SECRET

    __str__ = __repr__


class Hanging:
    """A function that hangs while `held`, counts its calls, and those that run at once."""

    def __init__(self, result=None, *, held=True):
        self.result = result
        self.lock = threading.Lock()
        self.go = threading.Event()
        self.begun = threading.Event()
        self.calls = self.now = self.most = 0
        self.threads = set()
        if not held:
            self.go.set()

    def __call__(self):
        with self.lock:
            self.calls += 1
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.get_ident())
        self.begun.set()
        try:
            self.go.wait(2 * PATIENCE)
            return self.result
        finally:
            with self.lock:
                self.now -= 1


def look(collector):
    """A snapshot, which is JSON as it stands, and has nothing in it that is secret."""
    snapshot = Task(collector.snapshot).result(2 * PATIENCE)
    check_plain(snapshot)
    assert SECRET not in json.dumps(snapshot, allow_nan=False)
    return snapshot


def check_plain(value):
    """Whatever writes JSON takes it, and takes nothing of it for something else."""
    if isinstance(value, dict):
        assert type(value) is dict
        assert {type(key) for key in value} <= {str}
        for each in value.values():
            check_plain(each)
    elif isinstance(value, (list, tuple)):
        assert type(value) in (list, tuple)
        for each in value:
            check_plain(each)
    else:
        assert value is None or type(value) in (bool, int, float, str), type(value)


def status(collector):
    return look(collector)["status"]


def entry(collector, group, name):
    """What a snapshot says of a component, or None."""
    found = look(collector)["services"][group].get(name)
    assert found is None or (set(found) >= ENTRY and found["status"] in STATUSES), found
    return found


def checked(collector, name):
    """What a snapshot says of a check."""
    found = look(collector)["checks"][name]
    assert set(found) == CHECK, found
    return found


def ask(collector, path, *, query=""):
    """The JSON at that path, through WSGI."""
    answered = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    chunks = collector.wsgi()(environ, lambda line, headers, error=None: answered.append((line, headers)))
    try:
        body = b"".join(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    ((line, _),) = answered
    assert line.startswith("200"), (line, body)
    assert SECRET.encode() not in body
    return json.loads(body)


@contextlib.contextmanager
def stopped(collector):
    """For a collector that need not be started: it is stopped in the end."""
    try:
        yield collector
    finally:
        collector.stop()


def yes(request):
    """An `authorize` that lets everybody in."""
    return True


def formatted(seconds):
    """How long something is up, as people write it."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h {minutes}m"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m" if minutes else f"{rest}s"


class Unfriendly(Exception):
    """One that can't even be printed."""

    def __init__(self):
        super().__init__(SECRET)

    def __str__(self):
        raise RuntimeError(SECRET)

    __repr__ = __str__


class EqualToAll:
    """What is equal to True, to False and to every status."""

    __hash__ = None

    def __eq__(self, other):
        return True

    def __repr__(self):
        return SECRET


class Untouchable:
    """What raises whatever it is asked."""

    __hash__ = None

    def _raise(self, *args):
        raise RuntimeError(SECRET)

    __eq__ = __ne__ = __bool__ = __str__ = __repr__ = __len__ = __iter__ = _raise


class Record(NamedTuple):
    n: int = 1
    ratio: float = math.nan

    def as_dict(self):
        return {"n": self.n, "ratio": self.ratio, "derived": 2}


class Foreign:
    """Something with `stats()`, which returns or raises what it is told."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.threads = set()

    def stats(self):
        self.threads.add(threading.get_ident())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    __repr__ = Secretive.__repr__


class Colour(enum.Enum):
    RED = SECRET


class Text(str):
    __slots__ = ()

    def __str__(self):
        return SECRET

    __repr__ = __str__


class Number(int):
    def __repr__(self):
        return SECRET

    __str__ = __repr__


# Too long for json, and for whoever would print it.
HUGE = 10**5000
ODD = [
    math.nan,
    math.inf,
    -math.inf,
    HUGE,
    -(10**400),
    b"bytes",
    bytearray(b"x"),
    {1, 2},
    (1, (2,)),
    range(3),
    1j,
    decimal.Decimal("1.5"),
    datetime.datetime(2020, 1, 1),
    Colour.RED,
    Text("text"),
    Number(5),
    Secretive(),
    ValueError(SECRET),
    "\ud800",
    "\0",
    len,
    Secretive,
    collections.deque([1]),
    iter([1]),
    memoryview(b"x"),
]


def places(found):
    """How many items there are in it, and how deep it goes."""
    if isinstance(found, dict):
        inner = [places(each) for each in found.values()]
    elif isinstance(found, list):
        inner = [places(each) for each in found]
    else:
        return 1, 0
    return sum(count for count, _ in inner) + 1, max((depth for _, depth in inner), default=0) + 1


FORKS = """
import os, signal, sys, threading, time
from khronos_fast import HealthCollector, MemoryCache

def child(then):
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        assert status == 0, status
        return
    signal.alarm(60)
    try:
        then()
    except BaseException:
        import traceback
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)

def when(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "what had to come did not"
        time.sleep(0.005)
"""


def as_json(record):
    """A record of figures as it looks once it has been JSON."""
    return json.loads(json.dumps(record.as_dict(), allow_nan=False))


def agrees(found, record):
    """All that the component says of itself is in the entry."""
    expected = as_json(record)
    assert json.loads(json.dumps({name: found.get(name) for name in expected})) == expected
