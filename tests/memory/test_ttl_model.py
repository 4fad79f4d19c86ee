"""Expiry, by any program of operations beside a model, and by thousands of times to live from 1 ms to ten years."""

import heapq
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause

from .model import DAY, YEAR, CacheMachine
from .support import TICK, Clock, Listener


class TtlMachine(CacheMachine):
    pass


class TtlMachineThatLooksSeldom(CacheMachine):
    looks_every_step = False


TestTtl = TtlMachine.TestCase
TestTtlThatLooksSeldom = TtlMachineThatLooksSeldom.TestCase

# 2 ms is the finest step that is exact both in binary and in whole nanoseconds.
FINE = 1 / 512


def any_duration(random: random.Random) -> float:
    """From 2 ms to ten years, every order of magnitude as likely as the next."""
    return max(1, int(512 * 10 ** random.uniform(-2.7, 8.5))) * FINE


class Population:
    """Many entries with times to live of their own, and the order in which a heap says they go."""

    def __init__(self, start: float) -> None:
        self.clock = Clock(start)
        self.listener = Listener()
        self.cache = MemoryCache(2**20, timer=self.clock, on_removal=self.listener)
        self.heap = []
        self.expiry = {}
        self.reported = set()

    def add(self, key, ttl):
        self.cache.set(key, key, ttl=ttl)
        self.expiry[key] = self.clock() + ttl
        heapq.heappush(self.heap, (self.expiry[key], key))

    def touch(self, key, ttl):
        there = key in self.expiry and self.expiry[key] > self.clock()
        assert self.cache.touch(key, ttl=ttl) is there
        if there:
            self.expiry[key] = self.clock() + ttl
            heapq.heappush(self.heap, (self.expiry[key], key))

    def due(self):
        """All that has expired by now and was not asked for before."""
        gone = set()
        while self.heap and self.heap[0][0] <= self.clock():
            expiry, key = heapq.heappop(self.heap)
            if self.expiry.get(key) == expiry:
                del self.expiry[key]
                gone.add(key)
        return gone

    def check(self):
        """`expire()` drops exactly what is due, and each of them once."""
        due = self.due()
        early = self.take_reports()
        assert early <= due
        assert self.cache.expire() == len(due - early)
        assert self.take_reports() | early == due
        assert len(self.cache) == len(self.expiry)

    def take_reports(self):
        calls = self.listener.taken()
        assert all(key == value and cause is RemovalCause.EXPIRED for key, value, cause in calls)
        keys = {key for key, _, _ in calls}
        assert len(keys) == len(calls)
        assert not keys & self.reported
        self.reported |= keys
        return keys

    def next_expiry(self):
        while self.heap and self.expiry.get(self.heap[0][1]) != self.heap[0][0]:
            heapq.heappop(self.heap)
        return self.heap[0][0] if self.heap else None


@pytest.mark.parametrize("start", [0.0, 1.0, 12345.625, 1.75e9])
@pytest.mark.parametrize("seed", range(3))
def test_each_entry_goes_at_its_own_moment(seed, start):
    rng = random.Random(seed)
    population = Population(start)
    for key in range(1500):
        population.add(key, any_duration(rng))
    # To each expiry in turn: just before it nothing goes, at it exactly what is due.
    while (moment := population.next_expiry()) is not None:
        if moment - FINE > population.clock():
            population.clock.now = moment - FINE
            population.check()
        population.clock.now = moment
        population.check()
    assert len(population.cache) == 0
    assert population.cache.stats().expirations == 1500


@pytest.mark.parametrize("seed", range(6))
def test_jumps_of_any_length_among_thousands_of_entries(seed):
    rng = random.Random(seed)
    population = Population(rng.choice([0.0, 1000.0, 1.75e9]))
    key = 0
    for _ in range(120):
        for _ in range(rng.choice([0, 1, 10, 200])):
            population.add(key, any_duration(rng))
            key += 1
        for _ in range(rng.choice([0, 1, 20])):
            if key:
                population.touch(rng.randrange(key), any_duration(rng))
        if rng.random() < 0.7:
            population.clock.advance(any_duration(rng) / rng.choice([1, 8, 512, 4096]) // FINE * FINE)
        population.check()


@pytest.mark.parametrize("seed", range(4))
def test_nothing_expired_is_seen_where_nobody_calls_expire(seed):
    rng = random.Random(seed)
    population = Population(1000.0)
    cache, clock = population.cache, population.clock
    for key in range(2000):
        population.add(key, any_duration(rng))
    for _ in range(3000):
        key = rng.randrange(2000)
        there = population.expiry[key] > clock()
        look = rng.randrange(6)
        if look == 0:
            assert (cache.get(key) is not None) is there
        elif look == 1:
            assert (cache.peek(key) is not None) is there
        elif look == 2:
            assert (key in cache) is there
        elif look == 3:
            assert bool(cache.get_many([key])) is there
        elif look == 4:
            if there:
                assert cache.ttl(key) == pytest.approx(population.expiry[key] - clock(), abs=1e-6)
            else:
                with pytest.raises(KeyError):
                    cache.ttl(key)
        elif not there:
            assert cache.delete(key) is False
        if rng.random() < 0.3:
            clock.advance(any_duration(rng) / 64 // FINE * FINE)
    population.check()


@given(
    st.lists(st.integers(1, int(10 * YEAR / FINE)).map(lambda count: count * FINE), min_size=1, max_size=60),
    st.integers(0, 2**40).map(lambda count: count * FINE),
)
def test_exact_at_the_boundary_for_any_time_to_live(ttls, start):
    clock = Clock(start)
    cache = MemoryCache(100, timer=clock)
    for key, ttl in enumerate(ttls):
        cache.set(key, key, ttl=ttl)
    for ttl in sorted(set(ttls)):
        clock.now = start + ttl - FINE
        assert all((key in cache) is (each >= ttl) for key, each in enumerate(ttls))
        clock.now = start + ttl
        assert all((key in cache) is (each > ttl) for key, each in enumerate(ttls))
        assert len(cache) == sum(each > ttl for each in ttls)


@pytest.mark.parametrize(
    "ttl", [0.001, 0.002, 0.004, 0.005, 0.01, 0.1, 1, 59, 60, 61, 3600, DAY, 31 * DAY, YEAR, 10 * YEAR]
)
def test_expires_at_its_time_and_not_before(ttl):
    clock = Clock(0.0)
    cache = MemoryCache(timer=clock, ttl=ttl)
    cache["k"] = 1
    clock.now = ttl - min(ttl / 2, 0.0005)
    assert cache["k"] == 1
    clock.now = ttl
    assert "k" not in cache
    assert len(cache) == 0


def test_time_walked_in_steps_of_every_size():
    """Entries set while time goes by in steps: none is lost and none is late, whatever the step."""
    for step in (FINE, TICK, 1.0, 63.984375, 3600.0, DAY, 100 * DAY):
        population = Population(7.0)
        rng = random.Random(step)
        for key in range(400):
            population.add(key, max(1, int(rng.random() * 200 * step / FINE)) * FINE)
            population.clock.advance(step)
            population.check()
        population.clock.advance(200 * step)
        population.check()
        assert len(population.cache) == 0


@pytest.mark.parametrize("gap", [64.0, 3600.0, DAY, 30 * DAY, YEAR, 50 * YEAR])
def test_an_entry_set_after_a_long_silence(gap):
    clock = Clock(0.0)
    cache = MemoryCache(timer=clock, ttl=10)
    cache["old"] = 1
    clock.advance(gap)
    cache["new"] = 2
    assert cache.ttl("new") == 10
    assert list(cache) == ["new"]
    clock.advance(10 - FINE)
    assert cache["new"] == 2
    clock.advance(FINE)
    assert cache.get("new") is None
    assert cache.stats().expirations == 2


def test_timedelta_counts_as_its_seconds():
    clock = Clock(0.0)
    cache = MemoryCache(timer=clock, ttl=timedelta(minutes=1))
    cache["a"] = 1
    cache.set("b", 1, ttl=timedelta(milliseconds=500))
    assert cache.ttl("a") == 60
    assert cache.ttl("b") == 0.5
    clock.now = 0.5
    assert list(cache) == ["a"]
    cache.touch("a", ttl=timedelta(days=3650))
    assert cache.ttl("a") == 3650 * DAY
