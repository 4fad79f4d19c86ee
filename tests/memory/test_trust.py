"""A memory that is only to be relied on until a deadline, and what is forgotten there."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache
from khronos_fast._core.audit import audit
from khronos_fast._core.loads import Loaded, begin, end, load_in_thread
from khronos_fast._core.trust import forget, moment, overtake
from khronos_fast._core.trust import trust as trust_until

LONG = 3600


def trust(cache, seconds):
    trust_until(cache, None if seconds is None else moment() + seconds)


@pytest.fixture
def cache():
    cache = MemoryCache(100)
    cache.set("eternal", 1)
    cache.set("mortal", 2, ttl=LONG)
    yield cache
    audit(cache)


def visible(cache):
    return {key for key in ("eternal", "mortal") if cache.get(key) is not None}


def test_as_a_rule_it_is_relied_on(cache):
    assert visible(cache) == {"eternal", "mortal"}
    trust(cache, LONG)
    assert visible(cache) == {"eternal", "mortal"}
    trust(cache, None)
    assert visible(cache) == {"eternal", "mortal"}


@pytest.mark.parametrize("seconds", [0, -1, 0.0, -1e8])
def test_from_the_deadline_on_nothing_is_found(cache, seconds):
    trust(cache, seconds)
    assert visible(cache) == set()
    assert "mortal" not in cache
    assert cache.peek("eternal") is None
    assert cache.get_many(["eternal", "mortal"]) == {}
    with pytest.raises(KeyError):
        cache["eternal"]


def test_the_deadline_passes_by_itself(cache):
    trust(cache, 0.05)
    assert visible(cache) == {"eternal", "mortal"}
    time.sleep(0.2)
    assert visible(cache) == set()


def test_what_is_there_stays_there(cache):
    trust(cache, 0)
    assert visible(cache) == set()
    assert len(cache) == 2
    trust(cache, LONG)
    assert visible(cache) == {"eternal", "mortal"}


def test_misses_are_counted(cache):
    trust(cache, 0)
    visible(cache)
    assert (cache.stats().hits, cache.stats().misses) == (0, 2)


def test_who_loads_calls_the_loader(cache):
    trust(cache, 0)
    assert cache.get_or_compute("eternal", lambda: "anew") == "anew"
    assert cache.get_or_compute("eternal", lambda: "once more") == "once more"
    assert load_in_thread(cache, "mortal", lambda: Loaded("anew"), False, None) == "anew"
    trust(cache, None)
    assert cache.get("eternal") == "once more"
    assert cache.get("mortal") == "anew"


def test_writing_and_deleting_go_on(cache):
    trust(cache, 0)
    cache.set("new", 3)
    assert cache.delete("mortal")
    assert cache.invalidate("et*") == 1
    trust(cache, None)
    assert cache.get("new") == 3
    assert visible(cache) == set()


def test_what_expires_meanwhile_has_expired(cache):
    trust(cache, 0)
    cache.set("brief", 3, ttl=0.01)
    time.sleep(0.05)
    assert cache.get("brief") is None
    trust(cache, None)
    assert cache.get("brief") is None
    assert visible(cache) == {"eternal", "mortal"}


def test_the_deadline_outlasts_clearing_and_shrinking(cache):
    trust(cache, 0)
    cache.clear()
    cache.set("eternal", 1)
    cache.expire()
    assert visible(cache) == set()
    trust(cache, None)
    assert visible(cache) == {"eternal"}


def test_a_memory_with_a_timer_of_its_own_is_refused():
    cache = MemoryCache(10, timer=time.monotonic)
    cache.set("key", 1)
    with pytest.raises(ValueError, match="timer of its own"):
        trust(cache, 1)
    assert cache.get("key") == 1


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from("abc"), st.sampled_from([None, LONG])),
            st.tuples(st.just("delete"), st.sampled_from("abc")),
            st.tuples(st.just("trust"), st.sampled_from([None, 0, LONG])),
            st.tuples(st.just("invalidate"), st.sampled_from(["a*", "*"])),
            st.tuples(st.just("clear")),
        )
    )
)
def test_it_is_as_a_dict_behind_a_switch(steps):
    cache, model, trusted = MemoryCache(100), {}, True
    for number, (name, *args) in enumerate(steps):
        match name:
            case "set":
                cache.set(args[0], number, ttl=args[1])
                model[args[0]] = number
            case "delete":
                cache.delete(args[0])
                model.pop(args[0], None)
            case "trust":
                trust(cache, args[0])
                trusted = args[0] != 0
            case "invalidate":
                cache.invalidate(args[0])
                model = {key: value for key, value in model.items() if args[0] == "a*" and key != "a"}
            case "clear":
                cache.clear()
                model.clear()
        assert cache.get_many("abc") == (model if trusted else {})
        audit(cache)


def test_threads_see_the_deadline_at_once(cache):
    """Once `trust` has returned, no look-up that begins later finds anything."""
    rounds = [0]  # odd: it is over
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            before = rounds[0]
            found = cache.get("mortal")
            if found is not None and before % 2 and rounds[0] == before:
                wrong.append(before)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        trust(cache, LONG)
        time.sleep(0.001)
        trust(cache, 0)
        rounds[0] += 1
        time.sleep(0.001)
        rounds[0] += 1
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


# ---------------------------------------------------------------------- forgetting


def test_forgetting_deletes(cache):
    assert forget(cache, "mortal", False)
    assert forget(cache, "eternal", True)
    assert not forget(cache, "absent", True)
    assert visible(cache) == set()


@pytest.mark.parametrize("sparing", [False, True])
def test_reads_under_way_are_not_stored(cache, sparing):
    flight = begin(cache, "key")
    forget(cache, "key", sparing)
    assert not end(cache, flight, Loaded("old"))
    assert cache.get("key") is None


@pytest.mark.parametrize("sparing", [False, True])
def test_loads_under_way_are_spared_or_not(cache, sparing):
    loads = []

    def load():
        forget(cache, "key", sparing)
        other = threading.Thread(target=lambda: load_in_thread(cache, "key", again, False, None))
        other.start()
        # Who comes now waits for this load if it was spared, and else loads.
        other.join(0.2 if sparing else None)
        waiting.append(other)
        return Loaded("first")

    def again():
        loads.append(1)
        return Loaded("second")

    waiting = []
    assert load_in_thread(cache, "key", load, False, None) == "first"
    waiting[0].join()
    assert cache.get("key") == ("first" if sparing else "second")
    assert len(loads) == (not sparing)


def test_reads_are_overtaken_and_what_is_there_stays(cache):
    reading, loading = begin(cache, "mortal"), begin(cache, "mortal", loads=True)
    overtake(cache, "mortal")
    assert cache.get("mortal") == 2
    assert not end(cache, reading, Loaded("old"))
    assert cache.get("mortal") == 2
    assert end(cache, loading, Loaded("new"))
    assert cache.get("mortal") == "new"


def test_a_write_that_is_not_kept_was_not_overtaken(cache):
    writing = begin(cache, "mortal", writes=True)
    assert end(cache, writing, Loaded("new", 0))
    assert cache.get("mortal") is None
    writing = begin(cache, "mortal", writes=True)
    cache.delete("mortal")
    assert not end(cache, writing, Loaded("new", 0))
    assert not end(cache, begin(cache, "mortal"), None)
