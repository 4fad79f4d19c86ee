"""Every pool is what its row says: it lends each connection to one borrower at a time, and never opens too many."""

import asyncio
import threading
import time
from contextlib import closing

import pytest

from khronos_fast.bench.candidate import STANDARD, Missing
from khronos_fast.bench.connections import AsyncConnection, Connection, Connector
from khronos_fast.bench.loops import put_in
from khronos_fast.bench.pooler import HELD, Crowd, Face, OpenPool, Pooler, PresentPooler, Size, look_for_pooler
from khronos_fast.bench.poolers import ALL, FLOOR, FLOOR_OF_TASKS
from khronos_fast.bench.report import CANDIDATES

BY_NAME = {pooler.name: pooler for pooler in ALL}
CONNECTING = [pooler for pooler in ALL if pooler.connects]
TURN = {Face.THREADS: "sleep(0.0005)", Face.TASKS: "await sleep(0.0005)"}


def each(poolers):
    return pytest.mark.parametrize("pooler", poolers, ids=lambda pooler: pooler.name)


def found(pooler: Pooler) -> PresentPooler:
    present = look_for_pooler(pooler)
    if isinstance(present, Missing):
        pytest.skip(f"{pooler.name}: {present.reason}")
    return present


class Audience:
    """Knows how many hold a connection."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.now += 1
            self.all += 1
            self.most = max(self.most, self.now)

    def leave(self) -> None:
        with self._lock:
            self.now -= 1


def crowd_of(opened: OpenPool, audience: Audience) -> Crowd:
    face = opened.pooler.face
    return Crowd(
        opened,
        f"enter()\n{TURN[face]}\nleave()",
        enter=audience.enter,
        leave=audience.leave,
        sleep=asyncio.sleep if face is Face.TASKS else threading.Event().wait,
    )


@each(ALL)
def test_borrowers_are_never_more_than_connections(pooler: Pooler):
    audience = Audience()
    with closing(found(pooler).open(Size(3, 3))) as opened:
        assert crowd_of(opened, audience).run([range(10)] * 9) > 0
        assert (audience.now, audience.most, audience.all) == (0, 3, 90)
        assert opened.settle() == 3


@each(ALL)
def test_as_many_as_there_may_be_can_be_open_at_once(pooler: Pooler):
    with closing(found(pooler).open(Size(2, 5), seconds=0.001)) as opened:
        opened.open(5)
        assert opened.settle() == 5


@each(ALL)
@pytest.mark.parametrize("way", ["cycle", "block"])
def test_what_is_given_back_is_lent_again(pooler: Pooler, way: str):
    with closing(found(pooler).open(Size(2, 2))) as opened:
        opened.open(2)
        statement = put_in(getattr(pooler, way), HELD, "note(1)")
        held: list[int] = []
        names = {**opened.names(), "note": held.append}
        opened.make_loop(statement, names, "_")(range(50), 1, names)
        assert len(held) == 50
        opened.open(2)
        assert opened.connector.opened == 2


@each(ALL)
def test_the_statements_name_what_they_borrow(pooler: Pooler):
    """And the bench's own statements use none of the names."""
    for statement in (pooler.cycle, pooler.block):
        assert any(line.strip() == HELD for line in statement.splitlines())
    assert not {"start", "clock", "waited", "sleep", "seconds", "barrier"} & set(pooler.methods)


@each(CONNECTING)
def test_opening_takes_its_time_and_is_counted(pooler: Pooler):
    size = Size(2, 3)
    present = found(pooler)
    # From before the pool is made, as some begin then to open what they keep, and may have done so when one borrows.
    start = time.perf_counter_ns()
    with closing(present.open(size, seconds=0.02)) as opened:
        crowd_of(opened, Audience()).run([(0,)])
        assert time.perf_counter_ns() - start >= 20_000_000
        assert 1 <= opened.settle() <= size.most
        assert opened.connector.opening == 0


@each([pooler for pooler in CONNECTING if not pooler.can_start_cold])
def test_who_can_not_start_cold_has_opened_the_least_before_it_serves(pooler: Pooler):
    with closing(found(pooler).open(Size(3, 5), seconds=0.001)) as opened:
        assert opened.connector.opened == 3


@each(ALL)
def test_nothing_is_left_of_a_closed_pool(pooler: Pooler):
    threads = set(threading.enumerate())
    opened = found(pooler).open(Size(2, 2))
    opened.open(2)
    opened.close()
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads
    if opened.runner is not None:
        with pytest.raises(RuntimeError, match="closed"):
            opened.runner.get_loop()


# ---------------------------------------------------------------------- what goes wrong


def lying(_module, connector: Connector, _size: Size):
    """A pool that gives everybody the same connection."""
    connection = connector.plain()
    return type("Liar", (), {"get": staticmethod(lambda: connection)})


async def lying_later(module, connector: Connector, size: Size):
    return lying(module, connector, size)


def pooler_of(build, face: Face = Face.THREADS, **changes) -> Pooler:
    options = {"cycle": "connection = get()\n{held}", "block": "{held}", "methods": ("get",), **changes}
    return Pooler("a pool", "builtins", STANDARD, build, face=face, **options)


@pytest.mark.parametrize(("build", "face"), [(lying, Face.THREADS), (lying_later, Face.TASKS)])
def test_a_pool_that_lends_a_connection_twice_is_found_out(build, face: Face):
    with (
        closing(found(pooler_of(build, face)).open(Size(2, 2))) as opened,
        pytest.raises(RuntimeError, match="2 borrowers had 1 connections"),
    ):
        opened.open(2)


@pytest.mark.parametrize(("build", "face"), [(lying, Face.THREADS), (lying_later, Face.TASKS)])
def test_what_a_borrower_raises_is_raised(build, face: Face):
    with closing(found(pooler_of(build, face)).open(Size(1, 1))) as opened:
        with pytest.raises(KeyError):
            Crowd(opened, "{}['x']").run([(0,)] * 3)


def test_a_pool_for_tasks_that_can_not_be_made_leaves_no_event_loop():
    loops = []

    async def fail(*_):
        loops.append(asyncio.get_running_loop())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        found(pooler_of(fail, Face.TASKS)).open(Size(1, 1))
    assert loops[0].is_closed()


def test_settling_has_an_end(monkeypatch):
    monkeypatch.setattr("khronos_fast.bench.pooler.PATIENCE", 0.05)
    with closing(found(pooler_of(lying)).open(Size(1, 1))) as opened:
        opened.connector.opening = 1
        with pytest.raises(TimeoutError, match="still being opened"):
            opened.settle()


def test_a_connection_that_fails_to_open_is_not_on_its_way_any_more():
    connector = Connector()
    with pytest.raises(ZeroDivisionError):
        connector.connect(lambda: 1 / 0)
    assert (connector.opened, connector.opening) == (1, 0)


def test_connections_lead_nowhere():
    connection = Connection()
    assert connection.cursor().execute("SELECT 1") is None
    assert connection.commit() is connection.rollback() is connection.close() is None

    async def use() -> None:
        connection = AsyncConnection()
        assert await connection.execute("SELECT 1") is None
        assert await connection.rollback() is await connection.close() is None

    asyncio.run(use())


def test_names_are_unique_and_both_floors_are_there():
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
    assert BY_NAME[FLOOR].face is Face.THREADS
    assert BY_NAME[FLOOR_OF_TASKS].face is Face.TASKS
    assert not BY_NAME[FLOOR].connects
    assert {pooler.face for pooler in ALL if pooler.ours} == set(Face)


def test_a_package_without_the_pool_is_missing():
    missing = look_for_pooler(Pooler("x", "json", "x", lying, "", "", requires="Pool"))
    assert isinstance(missing, Missing)
    assert missing.reason == "json has no Pool"
