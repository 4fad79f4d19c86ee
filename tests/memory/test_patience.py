"""Waiting for another thread's load, with patience that ends: who leaves leaves nothing behind."""

import gc
import threading
import time

import pytest

from khronos_fast import MemoryCache
from khronos_fast._core.flight import ThreadFlight
from khronos_fast._core.loads import Loaded, OutOfPatience, load_in_thread

TIME = 60


def gates():
    """Of all flights there are: how many wait for each."""
    flights = [each for each in gc.get_objects() if type(each) is ThreadFlight]
    return [len(part) for flight in flights for part in gc.get_referents(flight) if type(part) is list]


class Held:
    """A load under way, until it is let go."""

    def __init__(self, cache, key):
        self.begun, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=load_in_thread, args=(cache, key, self.load, False, None), daemon=True)
        self.thread.start()
        assert self.begun.wait(TIME)

    def load(self):
        self.begun.set()
        assert self.go.wait(TIME)
        return Loaded("value")

    def end(self):
        self.go.set()
        self.thread.join(TIME)
        assert not self.thread.is_alive()


def never():
    raise AssertionError("somebody else is loading it")


def test_those_who_leave_leave_no_gates():
    cache = MemoryCache()
    held = Held(cache, "k")
    for _ in range(500):
        with pytest.raises(OutOfPatience):
            load_in_thread(cache, "k", never, False, 1e-6)
    assert sum(gates()) == 0
    held.end()
    assert cache["k"] == "value"


def test_those_who_stay_are_let_go():
    cache = MemoryCache()
    held = Held(cache, "k")
    results = []
    staying = [
        threading.Thread(target=lambda: results.append(load_in_thread(cache, "k", never, False, None)), daemon=True)
        for _ in range(8)
    ]
    for thread in staying:
        thread.start()
    end = time.monotonic() + TIME
    while sum(gates()) < len(staying):
        assert time.monotonic() < end
        time.sleep(0.001)
    for _ in range(100):
        with pytest.raises(OutOfPatience):
            load_in_thread(cache, "k", never, False, 1e-6)
    assert sum(gates()) == len(staying)
    held.end()
    for thread in staying:
        thread.join(TIME)
    assert results == ["value"] * len(staying)


def test_leaving_while_it_lands():
    """Each either has the value or has run out of patience, and nobody hangs."""
    cache = MemoryCache()
    for _ in range(100):
        cache.clear()
        held = Held(cache, "k")
        outcomes = []

        def wait(patience, held=held, outcomes=outcomes):
            while True:
                try:
                    outcomes.append(load_in_thread(cache, "k", never, False, patience))
                    return
                except OutOfPatience:
                    pass

        waiting = [threading.Thread(target=wait, args=(1e-6 * 10**number,), daemon=True) for number in range(4)]
        for thread in waiting:
            thread.start()
        held.end()
        for thread in waiting:
            thread.join(TIME)
        assert outcomes == ["value"] * len(waiting)
