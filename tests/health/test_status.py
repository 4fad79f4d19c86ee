"""What the overall status is made of, as a table; that the worst wins; what makes it better again; and the state of
every kind of breaker.
"""

import asyncio
import functools
import itertools
import json
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import HealthCollector
from khronos_fast.health import Status
from khronos_fast.tiers.breaker import Breaker

from .support import QUICK, SECRET, Hanging, Secretive, checked, entry, look, status, stopped, when


@pytest.fixture
def collector():
    with stopped(HealthCollector("tested", interval=QUICK)) as collector:
        yield collector


WORST_FIRST = ["DOWN", "OUT_OF_SERVICE", "DEGRADED", "UP"]

OPEN = Breaker(1, pause=10_000.0)
OPEN.failed(OPEN.allows())
HALF_OPEN = Breaker(1, pause=0.0)
HALF_OPEN.failed(HALF_OPEN.allows())


def raises():
    raise ValueError(f"no {SECRET}")


class Memo:
    cache_info = staticmethod(raises)


async def raises_async():
    raise ValueError("no")


async def fails_async():
    return False


def late(collector, name, critical):
    """A check that hangs until the collector is done with."""
    collector.check(name, Hanging(True), timeout=0.01, critical=critical)


def check(function, critical):
    return lambda collector, name: collector.check(name, function, critical=critical)


def says(what, critical):
    return check(lambda: what, critical)


def component(made):
    return lambda collector, name: collector.register(name, made)


# What is there, and what the status is if nothing else is.
PARTS = {
    "nothing": (lambda collector, name: None, "UP"),
    # A critical check
    "critical: None": (says(None, True), "UP"),
    "critical: True": (says(True, True), "UP"),
    "critical: False": (says(False, True), "DOWN"),
    "critical, async: False": (check(fails_async, True), "DOWN"),
    "critical: raises": (check(raises, True), "DOWN"),
    "critical, async: raises": (check(raises_async, True), "DOWN"),
    "critical: late": (functools.partial(late, critical=True), "DOWN"),
    "critical: nonsense": (says("fine", True), "DOWN"),
    "critical: UP": (says(Status.UP, True), "UP"),
    "critical: DEGRADED": (says(Status.DEGRADED, True), "DEGRADED"),
    "critical: OUT_OF_SERVICE": (says(Status.OUT_OF_SERVICE, True), "OUT_OF_SERVICE"),
    "critical: DOWN": (says(Status.DOWN, True), "DOWN"),
    "critical: 'OUT_OF_SERVICE'": (says("OUT_OF_SERVICE", True), "OUT_OF_SERVICE"),
    # One that is not
    "not critical: True": (says(True, False), "UP"),
    "not critical: False": (says(False, False), "DEGRADED"),
    "not critical, async: False": (check(fails_async, False), "DEGRADED"),
    "not critical: raises": (check(raises, False), "DEGRADED"),
    "not critical: late": (functools.partial(late, critical=False), "DEGRADED"),
    "not critical: nonsense": (says(42, False), "DEGRADED"),
    "not critical: DEGRADED": (says(Status.DEGRADED, False), "DEGRADED"),
    "not critical: OUT_OF_SERVICE": (says(Status.OUT_OF_SERVICE, False), "DEGRADED"),
    # Components
    "a breaker that is closed": (component(Breaker()), "UP"),
    "a breaker that is open": (component(OPEN), "DEGRADED"),
    "a breaker that is half open": (component(HALF_OPEN), "DEGRADED"),
    "a component that can be read": (component(lambda: {"n": 1}), "UP"),
    "a component that raises": (component(raises), "DEGRADED"),
    "a memoizer that raises": (component(Memo()), "DEGRADED"),
    # The collector itself
    "draining": (lambda collector, name: collector.drain(), "OUT_OF_SERVICE"),
}


def worst(statuses):
    return min(statuses, key=WORST_FIRST.index, default="UP")


def with_parts(*names):
    collector = HealthCollector("tested")
    for number, name in enumerate(names):
        PARTS[name][0](collector, f"part {number}")
    return stopped(collector)


class TestTable:
    @pytest.mark.parametrize("name", PARTS)
    def test_one_part(self, name):
        with with_parts(name) as collector:
            assert status(collector) == PARTS[name][1]

    @pytest.mark.parametrize("name", PARTS)
    def test_one_part_while_it_is_sampled(self, name):
        with with_parts(name) as collector:
            collector.start()
            for _ in range(3):
                assert status(collector) == PARTS[name][1]

    ONE_EACH = [
        "critical: True",
        "not critical: raises",
        "a breaker that is open",
        "a component that raises",
        "critical: OUT_OF_SERVICE",
        "draining",
        "critical: raises",
        "critical: late",
    ]

    @pytest.mark.parametrize("pair", list(itertools.combinations(ONE_EACH, 2)), ids=" + ".join)
    def test_of_two_the_worst_wins(self, pair):
        expected = worst(PARTS[name][1] for name in pair)
        for order in (pair, pair[::-1]):
            with with_parts(*order) as collector:
                assert status(collector) == expected

    @given(st.lists(st.sampled_from([name for name in PARTS if "late" not in name]), max_size=6))
    def test_the_worst_of_any_wins(self, names):
        with with_parts(*names) as collector:
            assert status(collector) == worst(PARTS[name][1] for name in names)


class TestParts:
    @pytest.mark.parametrize("name", ["a breaker that is open", "a breaker that is half open"])
    def test_a_breaker_that_is_not_closed_says_so(self, name):
        with with_parts(name) as collector:
            found = entry(collector, "circuit_breakers", "part 0")
            assert found["status"] == "DEGRADED"
            assert found["kind"] == "khronos"
            assert found["state"] in name.replace(" ", "_")

    def test_a_check_that_is_not_critical_is_down_all_the_same(self):
        with with_parts("not critical: raises") as collector:
            assert checked(collector, "part 0")["status"] == "DOWN"
            assert checked(collector, "part 0")["critical"] is False

    @pytest.mark.parametrize("said", ["UP", "DEGRADED", "OUT_OF_SERVICE", "DOWN"])
    @pytest.mark.parametrize("as_enum", [True, False])
    def test_what_a_check_says_is_its_status(self, said, as_enum):
        with stopped(HealthCollector()) as collector:
            collector.check("says", lambda: Status(said) if as_enum else said)
            assert checked(collector, "says")["status"] == said

    @pytest.mark.parametrize("said", ["UP", "DEGRADED", "OUT_OF_SERVICE", "DOWN"])
    def test_what_a_component_says_is_its_status(self, said):
        with stopped(HealthCollector()) as collector:
            collector.register("says", lambda: {"status": said, "n": 1})
            found = entry(collector, "others", "says")
            assert (found["status"], found["n"]) == (said, 1)
            # It is no check: it can't take the service down.
            assert status(collector) in ("UP", "DEGRADED")

    @pytest.mark.parametrize("said", ["fine", "up", "", None, 7, [], Secretive()])
    def test_a_status_that_is_none_of_ours(self, said):
        with stopped(HealthCollector()) as collector:
            collector.register("says", lambda: {"status": said})
            assert entry(collector, "others", "says")["status"] in ("UP", "UNKNOWN")
            assert status(collector) == "UP"


class TestDraining:
    def test_until_it_resumes(self):
        with stopped(HealthCollector()) as collector:
            for _ in range(2):
                collector.drain()
                collector.drain()
                assert status(collector) == "OUT_OF_SERVICE"
                collector.resume()
                collector.resume()
                assert status(collector) == "UP"

    def test_whether_it_is_started_or_not(self):
        with HealthCollector(interval=QUICK) as collector:
            collector.drain()
            assert status(collector) == "OUT_OF_SERVICE"
            collector.stop()
            assert status(collector) == "OUT_OF_SERVICE"
            collector.start()
            assert status(collector) == "OUT_OF_SERVICE"
            collector.resume()
            assert status(collector) == "UP"


class TestRecovery:
    def test_a_check(self):
        with HealthCollector(interval=QUICK) as collector:
            answer = [False]
            collector.check("database", lambda: answer[0])
            assert status(collector) == "DOWN"
            for said, expected in ((True, "UP"), ("DEGRADED", "DEGRADED"), (False, "DOWN"), (None, "UP")):
                answer[0] = said
                when(lambda expected=expected: status(collector) == expected)

    def test_a_breaker(self):
        breaker = Breaker(1)
        with stopped(HealthCollector()) as collector:
            collector.register("breaker", breaker)
            breaker.failed(breaker.allows())
            assert status(collector) == "DEGRADED"
            breaker.succeeded(breaker.start_probe())
            assert status(collector) == "UP"

    def test_what_is_taken_away_counts_no_more(self):
        with with_parts("critical: raises", "a breaker that is open", "a component that raises") as collector:
            for name, expected in (("part 0", "DEGRADED"), ("part 1", "DEGRADED"), ("part 2", "UP")):
                collector.unregister(name)
                assert status(collector) == expected

    def test_a_component(self):
        answer = [ValueError("no")]

        def figures():
            if isinstance(answer[0], Exception):
                raise answer[0]
            return answer[0]

        with HealthCollector(interval=QUICK) as collector:
            collector.register("figures", figures)
            assert status(collector) == "DEGRADED"
            answer[0] = {"n": 1}
            when(lambda: status(collector) == "UP")
            assert entry(collector, "others", "figures")["n"] == 1


class TestEnum:
    def test_members(self):
        assert {member.value for member in Status} == {*WORST_FIRST, "UNKNOWN"}
        for member in Status:
            assert isinstance(member, str)
            assert member == member.value == member.name
            assert str(member) == f"{member}" == member.value
            assert Status(member.value) is member
            assert json.dumps(member) == f'"{member.value}"'


def read(collector, name):
    """What a snapshot says of a breaker, its status and that of all being what its state makes them."""
    snapshot = look(collector)
    found = snapshot["services"]["circuit_breakers"][name]
    assert set(found) >= {"kind", "state", "failures", "opened", "status"}
    assert found["status"] == snapshot["status"] == ("UP" if found["state"] == "closed" else "DEGRADED")
    return found


def remote_storage(pybreaker):
    """What a pybreaker may keep its state in: far away, and hanging when it is told to."""

    class Remote(pybreaker.CircuitBreakerStorage):
        def __init__(self):
            super().__init__("remote")
            self.asked = Hanging("closed", held=False)

        state = property(lambda self: self.asked(), lambda self, state: setattr(self.asked, "result", state))
        counter = property(lambda self: self.asked() and 3)
        success_counter = property(lambda self: self.asked() and 0)
        opened_at = property(lambda self: self.asked() and None, lambda self, now: None)

    return Remote()


class TestPybreaker:
    @pytest.fixture
    def pybreaker(self):
        return pytest.importorskip("pybreaker")

    def test_states(self, collector, pybreaker):
        breaker = collector.register("breaker", pybreaker.CircuitBreaker(fail_max=3, name="own name"))
        assert read(collector, "breaker")["kind"] == "pybreaker"
        assert read(collector, "breaker")["state"] == "closed"
        with pytest.raises(ValueError, match="no"):
            breaker.call(raises)
        assert read(collector, "breaker")["failures"] == 1
        breaker.half_open()
        assert read(collector, "breaker")["state"] == "half_open"
        breaker.open()
        assert read(collector, "breaker")["state"] == "open"
        breaker.close()
        assert read(collector, "breaker")["state"] == "closed"

    def test_a_storage_far_away(self, collector, pybreaker):
        """It is asked, though never in the thread of whoever looks."""
        storage = remote_storage(pybreaker)
        collector.register("breaker", pybreaker.CircuitBreaker(state_storage=storage))
        storage.asked.threads.clear()
        for state in ("open", "half-open", "closed"):
            storage.asked.result = state
            when(lambda state=state: read(collector, "breaker")["state"] == state.replace("-", "_"))
        assert read(collector, "breaker")["failures"] == 3
        storage.asked.threads.clear()
        for _ in range(3):
            collector.snapshot()
        assert threading.get_ident() not in storage.asked.threads

    def test_a_storage_that_does_not_answer(self, collector, pybreaker):
        storage = remote_storage(pybreaker)
        collector.register("breaker", pybreaker.CircuitBreaker(state_storage=storage))
        storage.asked.go.clear()
        found = entry(collector, "circuit_breakers", "breaker")
        assert (found["kind"], found["status"]) == ("pybreaker", "DOWN")
        assert status(collector) == "DEGRADED"
        calls = storage.asked.calls
        for _ in range(3):
            assert status(collector) == "DEGRADED"
        assert storage.asked.calls == calls
        storage.asked.go.set()
        when(lambda: status(collector) == "UP")

    def test_a_storage_that_raises(self, collector, pybreaker):
        storage = remote_storage(pybreaker)
        breaker = pybreaker.CircuitBreaker(state_storage=storage)
        storage.asked.result = Secretive()
        collector.register("breaker", breaker)
        found = entry(collector, "circuit_breakers", "breaker")
        assert found.get("state") is None
        assert status(collector) == "DEGRADED"

    def test_its_storage_on_redis(self, collector, pybreaker):
        pytest.importorskip("redis")
        threads = set()

        class Client:
            state = b"open"

            def get(self, key):
                threads.add(threading.get_ident())
                return self.state if key.endswith("state") else b"2"

            def setnx(self, key, value):
                return False

        storage = pybreaker.CircuitRedisStorage("closed", Client())
        collector.register("breaker", pybreaker.CircuitBreaker(state_storage=storage))
        threads.clear()
        found = read(collector, "breaker")
        assert (found["state"], found["failures"]) == ("open", 2)
        collector.snapshot()
        assert threading.get_ident() not in threads


# asyncio's own function, which it asks, is deprecated from 3.14 on.
@pytest.mark.filterwarnings("ignore:.*iscoroutinefunction.*:DeprecationWarning")
class TestCircuitbreaker:
    @pytest.fixture
    def library(self, monkeypatch):
        library = pytest.importorskip("circuitbreaker")
        monkeypatch.setattr(library.CircuitBreakerMonitor, "circuit_breakers", {})
        return library

    @staticmethod
    def trip(function):
        with pytest.raises(ValueError, match="no"):
            function()

    def test_states(self, collector, library, monkeypatch):
        breaker = library.CircuitBreaker(failure_threshold=2, recovery_timeout=30)
        collector.register("breaker", breaker)
        assert read(collector, "breaker")["kind"] == "circuitbreaker"
        assert read(collector, "breaker")["state"] == "closed"
        self.trip(lambda: breaker.call(raises))
        assert read(collector, "breaker")["failures"] == 1
        self.trip(lambda: breaker.call(raises))
        assert read(collector, "breaker")["state"] == "open"
        monkeypatch.setattr(library, "monotonic", lambda: time.monotonic() + 1000)
        assert read(collector, "breaker")["state"] == "half_open"
        breaker.call(lambda: None)
        assert read(collector, "breaker")["state"] == "closed"

    @pytest.mark.parametrize("options", [{}, {"name": "another name"}])
    def test_a_decorated_function(self, collector, library, options):
        @library.circuit(failure_threshold=1, **options)
        def load():
            raise ValueError("no")

        assert collector.register("load", load) is load
        assert read(collector, "load")["state"] == "closed"
        self.trip(load)
        found = read(collector, "load")
        assert (found["kind"], found["state"], found["failures"]) == ("circuitbreaker", "open", 1)

    def test_a_decorated_coroutine_function(self, collector, library):
        @library.circuit(failure_threshold=1)
        async def load():
            raise ValueError("no")

        collector.register("load", load)
        self.trip(lambda: asyncio.run(load()))
        assert read(collector, "load")["state"] == "open"

    def test_two_functions_of_one_name(self, collector, library):
        """The library's own list knows the second one only."""

        def make():
            @library.circuit(failure_threshold=1)
            def load():
                raise ValueError("no")

            return load

        first, second = make(), make()
        collector.register("first", first)
        collector.register("second", second)
        self.trip(first)
        assert entry(collector, "circuit_breakers", "first")["state"] == "open"
        assert entry(collector, "circuit_breakers", "second")["state"] == "closed"

    def test_all_of_them(self, collector, library):
        """By the library's monitor: those too that come later."""

        @library.circuit(name="orders", failure_threshold=1)
        def orders():
            raise ValueError("no")

        collector.register("all", library.CircuitBreakerMonitor)
        assert set(look(collector)["services"]["circuit_breakers"]) == {"all.orders"}
        assert read(collector, "all.orders")["kind"] == "circuitbreaker"

        @library.circuit(name="users", failure_threshold=1)
        def users():
            raise ValueError("no")

        assert read(collector, "all.users")["state"] == "closed"
        self.trip(orders)
        assert entry(collector, "circuit_breakers", "all.orders")["state"] == "open"
        assert entry(collector, "circuit_breakers", "all.users")["state"] == "closed"
        assert status(collector) == "DEGRADED"
        collector.unregister("all")
        assert look(collector)["services"]["circuit_breakers"] == {}


class TestPurgatory:
    @pytest.fixture
    def purgatory(self):
        return pytest.importorskip("purgatory")

    def test_states(self, collector, purgatory):
        from purgatory.domain.model import HalfOpenedState

        breaker = purgatory.SyncCircuitBreakerFactory(default_threshold=2).get_breaker("orders")
        collector.register("breaker", breaker)
        assert read(collector, "breaker")["kind"] == "purgatory"
        assert read(collector, "breaker")["state"] == "closed"
        for number, state in ((1, "closed"), (2, "open")):
            with pytest.raises(ValueError, match="no"), breaker:
                raises()
            assert read(collector, "breaker")["state"] == state, number
        breaker.context.set_state(HalfOpenedState())
        assert read(collector, "breaker")["state"] == "half_open"
        with breaker:
            pass
        assert read(collector, "breaker")["state"] == "closed"

    def test_asynchronous(self, collector, purgatory):
        async def main():
            breaker = await purgatory.AsyncCircuitBreakerFactory(default_threshold=1).get_breaker("orders")
            collector.register("breaker", breaker)
            assert read(collector, "breaker")["state"] == "closed"
            with pytest.raises(ValueError, match="no"):
                async with breaker:
                    raises()
            assert read(collector, "breaker")["state"] == "open"
            assert read(collector, "breaker")["kind"] == "purgatory"

        asyncio.run(main())
