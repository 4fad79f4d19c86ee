"""Nothing private leaves: no key, no value, no password of a URL, no environment variable, no text of an exception.

All of these hold the marker. Everything is asked for, in every format, by everybody; and what is answered, logged and
printed is searched for it.
"""

import functools
import itertools
import logging

import pytest
from tiers.servers import BINARIES, NEEDED, Server

from khronos_fast import AsyncDatabase, Database, MemoryCache, Pool, TieredCache, cached, lru_cache
from khronos_fast.health import any_of, basic, bearer

from .web import BROWSER, EACH_KIND, EVERYWHERE, PROBES, PROTECTED, ROUTES, SCRAPER, allowed, when

MARKER = "pr1vate"
# Where nobody listens, and nobody may: tcpmux.
NOBODY = "127.0.0.1:1"

FORMATS = ["*/*", "application/json", BROWSER, SCRAPER, f"text/{MARKER}"]


class Marked:
    """An object of somebody's, which says the marker whenever it is asked."""

    def __repr__(self):
        return MARKER

    __str__ = __format__ = lambda self, *_: MARKER

    def __hash__(self):
        return hash(MARKER)

    def __eq__(self, other):
        return other is self


class MarkedType(type):
    def __repr__(cls):
        return f"<class {MARKER}>"

    __str__ = __repr__


class Trouble(Exception, metaclass=MarkedType):
    """An error whose text, notes, cause and type say it."""

    def __init__(self, *arguments):
        super().__init__(MARKER, Marked(), *arguments)
        self.add_note(MARKER)
        self.__cause__ = ValueError(MARKER)

    def __repr__(self):
        return f"Trouble({MARKER})"

    __str__ = __repr__


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError(MARKER)

    __repr__ = __str__


def raises(*_, **__):
    secret = MARKER  # noqa: F841 - a traceback with locals would show it
    raise Trouble


class MarkedStats:
    """A component of somebody's whose figures are no figures."""

    __repr__ = __str__ = Marked.__repr__

    def __init__(self, result):
        self.result = result

    def stats(self):
        return self.result() if callable(self.result) else self.result


def odd_figures():
    return {
        "object": Marked(),
        "type": Trouble,
        "error": Trouble(),
        "nested": {"list": [Marked(), (Marked(),), {Marked()}], Marked(): 1},
        "bytes": MARKER.encode(),
        "function": raises,
        "partial": functools.partial(raises, MARKER),
        "nan": float("nan"),
        "deep": functools.reduce(lambda inner, _: {"in": inner}, range(20), Marked()),
    }


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    for name in ("DATABASE_URL", "SECRET_KEY", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "HOME_OF_THE_TEST"):
        monkeypatch.setenv(name, f"postgresql://ada:{MARKER}@{NOBODY}/x")


def register_caches(health, wardrobe):
    memory = health.register("memory", MemoryCache(100))
    memory[f"key:{MARKER}"] = f"value {MARKER}"
    memory[Marked()] = Marked()
    memory.get(f"missing:{MARKER}")
    memory.invalidate(f"{MARKER}:*")

    def failing_listener(key, value, cause):
        raise Trouble

    listened = health.register("listened", MemoryCache(1, on_removal=failing_listener))
    listened["one"], listened["two"] = MARKER, MARKER

    @cached(maxsize=10)
    def cached_function(argument):
        return argument

    @lru_cache(maxsize=10)
    def ours(argument):
        return argument

    @functools.lru_cache(maxsize=10)
    def standard(argument):
        return argument

    for function in (cached_function, ours, standard):
        function(MARKER)
        function(Marked())
        health.register(function.__name__, function)


def register_redis(health, wardrobe):
    pytest.importorskip("redis")
    if not BINARIES:
        pytest.skip(NEEDED)
    server = wardrobe.enter_context(Server(password=MARKER))
    tiered = health.register("tiered", TieredCache(100, server.url))
    wardrobe.callback(tiered.close)
    health.register("tier", tiered.redis)
    for number in range(5):
        tiered.get_or_compute(f"{MARKER}:{number}", lambda: MARKER)
    with pytest.raises(Trouble):
        tiered.get_or_compute(f"{MARKER}:failing", raises)
    server.kill()
    tiered.get_or_compute(f"{MARKER}:after", lambda: MARKER)


def register_databases(health, wardrobe):
    database = health.register("sqlite", Database("sqlite:///:memory:"))
    wardrobe.callback(database.close)
    database.query("SELECT ?", [MARKER])
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever SQLite says
        database.query(f"SELECT {MARKER}")
    pool = health.register("pool", Pool(raises, min_size=0, max_size=1, acquire_timeout=0.05))
    wardrobe.callback(pool.close)
    with pytest.raises(TimeoutError):
        pool.acquire()
    pytest.importorskip("psycopg", exc_type=ImportError)
    url = f"postgresql://ada:{MARKER}@{NOBODY}/x?application_name={MARKER}"
    lost = health.register("postgres", Database(url, min_size=0, acquire_timeout=0.3))
    wardrobe.callback(lambda: lost.close(timeout=1))
    with pytest.raises(Exception):  # noqa: B017, PT011 - it can't be connected to
        lost.query("SELECT 1")
    health.register("async postgres", AsyncDatabase(url, min_size=0))


def register_breakers_and_limiters(health, wardrobe):
    pybreaker = pytest.importorskip("pybreaker")
    breaker = health.register("breaker", pybreaker.CircuitBreaker(fail_max=1, name=MARKER))
    with pytest.raises((Trouble, pybreaker.CircuitBreakerError)):
        breaker.call(raises, MARKER)
    limits = pytest.importorskip("limits")
    limiter = health.register("limiter", limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage()))
    for identifier in (MARKER, f"{MARKER}:2", MARKER):
        limiter.hit(limits.parse("1/minute"), identifier, f"user {MARKER}")


def register_others(health, wardrobe):
    health.register("odd", MarkedStats(odd_figures))
    health.register("failing", MarkedStats(raises))
    health.register("no figures", MarkedStats(Marked()))
    health.register("failing callable", raises)
    health.register("odd callable", odd_figures)

    # What is known is read in the collector's own thread.
    def almost(argument):
        return argument

    almost.cache_info = almost.cache_parameters = almost.cache_clear = raises
    health.register("failing memoizer", almost)

    async def fails():
        raise Trouble

    for name, check in {
        "raises": raises,
        "raises later": fails,
        "returns": lambda: MARKER,
        "returns an object": Marked,
        "returns an error": Trouble,
        "returns a dict": lambda: {"password": MARKER},
        "unprintable": lambda: (_ for _ in ()).throw(Unprintable(MARKER)),
        "group": lambda: (_ for _ in ()).throw(ExceptionGroup(MARKER, [Trouble()])),
        "system exit": lambda: (_ for _ in ()).throw(SystemExit(MARKER)),
    }.items():
        health.check(name, check, critical=name != "raises later")


REGISTERED = [register_caches, register_redis, register_databases, register_breakers_and_limiters, register_others]

WRONG = [
    {},
    {"Authorization": f"Bearer {MARKER}"},
    {"Authorization": "Basic cHIxdmF0ZTpwcjF2YXRl"},  # the marker, twice
    {"Authorization": MARKER, "Cookie": f"session={MARKER}", "X-Key": MARKER, "User-Agent": MARKER},
]
RIGHT = [{"Authorization": "Bearer t0ken"}, {"Authorization": "Basic YWRhOmxvdmVsYWNl"}]


def is_discreet(text, where):
    for secret in (MARKER, "cHIxdmF0ZTpwcjF2YXRl", "t0ken", "YWRhOmxvdmVsYWNl", "lovelace", "Traceback", 'File "'):
        found = text.find(secret)
        assert found < 0, f"{secret!r} in {where}: ...{text[max(0, found - 200) : found + 100]}..."


def logged(caplog):
    formatter = logging.Formatter()
    return "\n".join(formatter.format(record) + repr(record.args) for record in caplog.records)


@pytest.mark.parametrize("register", REGISTERED)
@pytest.mark.parametrize("name", ["asgi", "starlette-middleware", "flask", "sidecar", "uvicorn"])
def test_nothing_private_leaves(wardrobe, register, name, caplog, capfd):
    authorize = any_of(bearer("t0ken"), basic("ada", "lovelace"))
    health = wardrobe.collector(authorize=authorize, version="1.0")
    register(health, wardrobe)
    # What others log while they are used is not the collector's: from here on it is.
    caplog.clear()
    caplog.set_level(logging.INFO)
    capfd.readouterr()
    health.start()
    face = wardrobe.wear(name, health)
    seen = set()
    for _ in range(2):
        for path, accept, headers in itertools.product(ROUTES, FORMATS, [*WRONG, *RIGHT]):
            answer = face.get(path, {**headers, "Accept": accept})
            seen.add((path, answer.status))
            is_discreet(answer.everything(), f"{path} as {accept} for {headers}")
        for path, method in itertools.product(["/dashboard", "/nowhere", "/health/x"], ["POST", "HEAD", "DELETE"]):
            is_discreet(face.get(path, RIGHT[0], method).everything(), f"{method} {path}")
        for after in ("0", "x", "-1"):
            is_discreet(face.get(f"/dashboard/live?after={after}", RIGHT[0]).everything(), "live")
        if name != "flask":
            is_discreet(repr(health.snapshot()), "the snapshot")
    assert {(path, allowed(path)) for path in PROTECTED} <= seen
    assert {(path, 401) for path in PROTECTED} <= seen
    health.stop()
    is_discreet(repr(health), "its representation")
    is_discreet(logged(caplog), "the log")
    printed = capfd.readouterr()
    is_discreet(printed.out + printed.err, "what is printed")


@EACH_KIND
def test_a_redis_that_cannot_be_reached_keeps_its_password(wardrobe, name, caplog, capfd):
    pytest.importorskip("redis")
    caplog.set_level(logging.INFO)
    health = wardrobe.collector(redis=f"redis://ada:{MARKER}@{NOBODY}", authorize=bearer("t0ken"))
    is_discreet(repr(health), "its representation")
    health.start()
    face = wardrobe.wear(name, health)
    asked = when(
        lambda: (answer := face.get("/dashboard/cluster", RIGHT[0])).json()["cluster"] == "UNKNOWN" and answer,
        "the cluster is not UNKNOWN",
    )
    is_discreet(asked.everything(), "the cluster")
    for path in ROUTES:
        is_discreet(face.get(path, RIGHT[0]).everything(), path)
    health.stop()
    is_discreet(logged(caplog), "the log")
    printed = capfd.readouterr()
    is_discreet(printed.out + printed.err, "what is printed")


@EVERYWHERE
def test_what_goes_wrong_inside_has_no_traceback(wardrobe, name, caplog, capfd):
    """An `authorize` of somebody's, in a foreign thread or loop, whose error says everything."""
    caplog.set_level(logging.INFO)
    health = wardrobe.collector(authorize=raises)
    face = wardrobe.wear(name, health)
    for path, headers in itertools.product(ROUTES, WRONG):
        answer = face.get(path, headers)
        assert answer.status == (200 if path in PROBES else 403)
        is_discreet(answer.everything(), path)
    is_discreet(logged(caplog), "the log")
    printed = capfd.readouterr()
    is_discreet(printed.out + printed.err, "what is printed")


def test_a_name_is_shown_as_it_is_and_breaks_nothing(wardrobe):
    """Names are the developer's: they are shown, and whatever is in them is text."""
    health = wardrobe.collector(name='<script>"&\\\n', worker='w"\n\\é', authorize=lambda request: True)
    odd = ["<script>alert(1)</script>", 'quote"', "new\nline", "back\\slash", "{brace}", "tab\t", "naïve 鍵", "\u2028"]
    for given in odd:
        health.register(given, MemoryCache(10))
        health.check(f"check {given}", lambda: True)
    face = wardrobe.wear("asgi", health)
    assert set(face.get("/cache/stats").json()) == set(odd)
    assert set(face.get("/health").json()["checks"]) == {f"check {given}" for given in odd}
    assert "<script>alert" not in face.get("/dashboard", {"Accept": BROWSER}).text
    for path in ROUTES:
        answer = face.get(path)
        assert answer.status == allowed(path)
        assert not answer.header("content-type").startswith("text/html")
    parser = pytest.importorskip("prometheus_client.parser")
    families = list(parser.text_string_to_metric_families(face.get("/metrics").text))
    caches = {sample.labels["cache"] for family in families if family.name == "cache_size" for sample in family.samples}
    assert caches == set(odd)
