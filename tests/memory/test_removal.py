"""What leaves is reported: once, with its cause, when the cache is consistent, and to any kind of listener."""

import gc
import logging
import threading
import weakref
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from khronos_fast import MemoryCache, RemovalCause

from .support import TICK, Clock, Listener, Task, Value, accounted, wait

EXPIRED, EVICTED, REPLACED = RemovalCause.EXPIRED, RemovalCause.EVICTED, RemovalCause.REPLACED
DELETED, CLEARED = RemovalCause.DELETED, RemovalCause.CLEARED


def cache_of_three(listener, **settings):
    cache = MemoryCache(3, on_removal=listener, **settings)
    cache.update(a=1, b=2, c=3)
    return cache


class TestCauses:
    @pytest.mark.parametrize(
        ("call", "reported"),
        [
            (lambda c: c.delete("b"), [("b", 2, DELETED)]),
            (lambda c: c.delete("x"), []),
            (lambda c: c.__delitem__("b"), [("b", 2, DELETED)]),
            (lambda c: c.pop("b"), [("b", 2, DELETED)]),
            (lambda c: c.pop("x", 5), []),
            (lambda c: c.popitem(), [("a", 1, DELETED)]),
            (lambda c: c.delete_many(["c", "x", "a"]), [("c", 3, DELETED), ("a", 1, DELETED)]),
            (lambda c: c.set("b", 9), [("b", 2, REPLACED)]),
            (lambda c: c.__setitem__("b", 2), [("b", 2, REPLACED)]),
            (lambda c: c.update(b=8, a=9), [("b", 2, REPLACED), ("a", 1, REPLACED)]),
            (lambda c: c.set_many({"c": 7, "b": 8}), [("c", 3, REPLACED), ("b", 2, REPLACED)]),
            (lambda c: c.set("d", 4), [("a", 1, EVICTED)]),
            (lambda c: c.setdefault("d", 4), [("a", 1, EVICTED)]),
            (lambda c: c.setdefault("a", 4), []),
            (lambda c: c.get_or_compute("d", dict), [("a", 1, EVICTED)]),
            (lambda c: c.update(d=4, e=5), [("a", 1, EVICTED), ("b", 2, EVICTED)]),
            (lambda c: c.resize(1), [("a", 1, EVICTED), ("b", 2, EVICTED)]),
            (lambda c: c.resize(5), []),
            (lambda c: (c.get("a"), c.touch("b"), c.peek("c"), c.expire(), c.stats(), list(c)), []),
        ],
    )
    def test_of_a_call(self, call, reported):
        listener = Listener()
        cache = cache_of_three(listener)
        call(cache)
        assert listener == reported

    def test_of_clear(self):
        listener = Listener()
        cache_of_three(listener).clear()
        assert Counter(listener) == Counter([("a", 1, CLEARED), ("b", 2, CLEARED), ("c", 3, CLEARED)])

    def test_of_time(self):
        clock, listener = Clock(), Listener()
        cache = cache_of_three(listener, timer=clock, ttl=1)
        clock.advance(1)
        cache.expire()
        assert Counter(listener) == Counter([("a", 1, EXPIRED), ("b", 2, EXPIRED), ("c", 3, EXPIRED)])

    def test_of_weight(self):
        listener = Listener()
        cache = cache_of_three(listener, max_weight=6, weigher=lambda key, value: value)
        assert listener == []
        cache["c"] = 4
        assert Counter(listener) == Counter([("c", 3, REPLACED), ("a", 1, EVICTED)])
        assert dict(cache.items()) == {"b": 2, "c": 4}

    def test_the_same_object_set_again_is_replaced_too(self):
        listener = Listener()
        cache = MemoryCache(on_removal=listener)
        value = Value()
        cache["k"] = value
        cache["k"] = value
        assert listener == [("k", value, REPLACED)]
        assert cache["k"] is value

    def test_the_key_reported_is_the_one_that_was_kept(self):
        listener = Listener()
        cache = MemoryCache(on_removal=listener)
        first, second = ("a", 1), tuple(["a", 1])
        assert first is not second
        cache[first] = 1
        cache[second] = 2
        cache.delete(("a", 1))
        assert [key is first for key, _, _ in listener] == [True, True]

    def test_members(self):
        assert {cause.name for cause in RemovalCause} >= {
            *("EXPIRED", "EVICTED", "REPLACED", "DELETED", "INVALIDATED", "CLEARED")
        }

    def test_dropping_the_cache_reports_nothing(self):
        listener = Listener()
        cache = cache_of_three(listener)
        gone = weakref.ref(cache)
        del cache
        assert gone() is None
        assert listener == []


operations = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("set", "set", "set", "set ttl", "set ttl", "setdefault", "load", "update", "get", "delete"),
                *("pop", "popitem", "delete_many", "touch", "resize", "advance", "advance", "expire", "clear", "len"),
            ]
        ),
        st.integers(0, 9),
    ),
    max_size=80,
)


@given(operations, st.integers(1, 6), st.booleans())
def test_every_value_is_there_or_was_reported_once(program, maxsize, weighs):
    clock, listener, inserted = Clock(), Listener(), []
    settings = {"max_weight": 12, "weigher": lambda key, value: key} if weighs else {}
    cache = MemoryCache(maxsize, timer=clock, on_removal=listener, **settings)

    def fresh():
        inserted.append(Value(len(inserted)))
        return inserted[-1]

    for name, number in program:
        match name:
            case "set":
                cache[number] = fresh()
            case "set ttl":
                cache.set(number, fresh(), ttl=(1 + number) * TICK)
            case "setdefault":
                if cache.setdefault(number, value := fresh()) is not value:
                    inserted.pop()
            case "load":
                cache.get_or_compute(number, fresh, ttl=TICK)
            case "update":
                cache.update({number: fresh(), number // 2: fresh()})
                if number // 2 == number:
                    inserted.pop(-2)
            case "get":
                cache.get(number)
            case "delete":
                cache.delete(number)
            case "pop":
                cache.pop(number, None)
            case "popitem":
                if cache:
                    cache.popitem()
            case "delete_many":
                cache.delete_many(range(number))
            case "touch":
                cache.touch(number, ttl=TICK)
            case "resize":
                cache.resize(number + 1)
            case "advance":
                clock.advance(number * TICK)
            case "expire":
                cache.expire()
            case "clear":
                cache.clear()
            case "len":
                assert len(cache) <= cache.stats().maxsize
    cache.expire()
    accounted(inserted, cache, [value for _, value, _ in listener])
    stats = cache.stats()
    causes = Counter(cause for _, _, cause in listener)
    assert (stats.evictions, stats.expirations) == (causes[EVICTED], causes[EXPIRED])
    assert stats.updates == causes[REPLACED]
    assert stats.inserts == len(cache) + sum(causes[cause] for cause in (EVICTED, EXPIRED, DELETED, CLEARED))


class TestWhenItIsCalled:
    """The cache is consistent by then: it shows the state after the call."""

    def observed(self, call, *, ttl=None, after=0.0):
        seen = []
        clock = Clock()

        def listener(key, value, cause):
            seen.append((key, dict(cache.items()), len(cache), cache.peek(key), cache.stats().size))

        cache = MemoryCache(3, on_removal=listener, timer=clock)
        cache.set_many({"a": 1, "b": 2, "c": 3}, ttl=ttl)
        clock.advance(after)
        call(cache)
        for _, items, size, _, counted in seen:
            assert len(items) == size == counted
        return seen

    def test_replaced_shows_the_new_value(self):
        [(key, items, _, value, _)] = self.observed(lambda cache: cache.set("b", 9))
        assert (key, value) == ("b", 9)
        assert items == {"a": 1, "c": 3, "b": 9}

    def test_evicted_is_gone_and_what_pressed_it_out_is_there(self):
        [(key, items, _, value, _)] = self.observed(lambda cache: cache.set("d", 4))
        assert (key, value) == ("a", None)
        assert items == {"b": 2, "c": 3, "d": 4}

    @pytest.mark.parametrize("call", [lambda c: c.delete("a"), lambda c: c.pop("a"), lambda c: c.popitem()])
    def test_deleted_is_gone(self, call):
        [(key, items, _, value, _)] = self.observed(call)
        assert (key, value) == ("a", None)
        assert items == {"b": 2, "c": 3}

    @pytest.mark.parametrize("call", [lambda c: c.clear(), lambda c: c.resize(1)])
    def test_many_are_gone_before_the_first_is_reported(self, call):
        seen = self.observed(call)
        left = {"c": 3} if len(seen) == 2 else {}
        assert len(seen) >= 2
        assert [items for _, items, _, _, _ in seen] == [left] * len(seen)

    def test_expired_is_gone(self):
        seen = self.observed(lambda cache: cache.expire(), ttl=1, after=1)
        assert len(seen) == 3
        assert all(items == {} for _, items, _, _, _ in seen)

    def test_it_is_called_before_the_call_returns(self):
        listener = Listener()
        cache = cache_of_three(listener)
        for key in "abc":
            cache.delete(key)
            assert listener.taken() == [(key, {"a": 1, "b": 2, "c": 3}[key], DELETED)]

    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.set("a", 9),
            lambda c: c.set("d", 4),
            lambda c: c.delete("a"),
            lambda c: c.pop("a"),
            lambda c: c.popitem(),
            lambda c: c.clear(),
            lambda c: c.resize(1),
            lambda c: c.setdefault("d", 4),
            lambda c: c.get_or_compute("d", dict),
            lambda c: c.update(d=4),
        ],
    )
    def test_no_lock_is_held(self, call):
        """Another thread may use the cache while the listener runs, even where the listener waits for it."""
        outcomes = []

        def use():
            cache["other"] = 1
            cache.get("other")
            cache.delete("other")
            return len(cache) <= 3

        def listener(key, value, cause):
            if not outcomes:
                outcomes.append("the other thread was kept out")
                outcomes[0] = Task(use).result(10)

        cache = cache_of_three(listener)
        call(cache)
        assert outcomes == [True]


class TestListenerThatRaises:
    @pytest.mark.parametrize(
        "call",
        [
            lambda c: c.set("a", 9),
            lambda c: c.set("d", 4),
            lambda c: c.delete("a"),
            lambda c: c.pop("a"),
            lambda c: c.popitem(),
            lambda c: c.clear(),
            lambda c: c.resize(1),
            lambda c: c.setdefault("d", 4),
            lambda c: c.get_or_compute("d", dict),
            lambda c: c.update(d=4, e=5),
            lambda c: c.delete_many("abc"),
        ],
    )
    def test_changes_nothing_and_is_logged(self, call, caplog):
        def listener(key, value, cause):
            calls.append((key, value, cause))
            raise ZeroDivisionError("listener's own")

        calls = []
        quiet = Listener()
        cache, other = cache_of_three(listener), cache_of_three(quiet)
        with caplog.at_level(logging.DEBUG, logger="khronos_fast"):
            assert call(cache) == call(other)
        assert list(cache.items()) == list(other.items())
        assert cache.stats() == other.stats() or cache.stats().loads
        assert sorted(calls, key=str) == sorted(quiet, key=str)
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert len(errors) == len(calls) >= 1
        for record in errors:
            assert record.name == "khronos_fast.memory"
            assert record.levelno == logging.ERROR
            assert record.exc_info[0] is ZeroDivisionError
            assert record.exc_info[2] is not None

    def test_no_key_and_no_value_is_logged_above_debug(self, caplog):
        def listener(key, value, cause):
            raise ZeroDivisionError

        cache = MemoryCache(1, on_removal=listener, name="the cache's name")
        cache["SECRET KEY"] = "SECRET VALUE"
        with caplog.at_level(logging.INFO, logger="khronos_fast"):
            cache.delete("SECRET KEY")
        [record] = caplog.records
        assert "SECRET" not in record.getMessage()
        assert not any("SECRET" in str(argument) for argument in record.args or ())

    def test_on_expiry_too(self, caplog):
        def listener(key, value, cause):
            raise ZeroDivisionError

        clock = Clock()
        cache = cache_of_three(listener, timer=clock, ttl=1)
        clock.advance(1)
        assert cache.get("a") is None
        assert cache.expire() <= 2
        assert len(cache) == 0
        assert len(caplog.records) == 3

    def test_all_the_others_are_reported(self, caplog):
        def listener(key, value, cause):
            calls.append(key)
            if key % 2:
                raise ZeroDivisionError

        calls = []
        cache = MemoryCache(on_removal=listener)
        cache.update(dict.fromkeys(range(100)))
        cache.clear()
        assert sorted(calls) == list(range(100))
        assert len(caplog.records) == 50

    def test_the_exception_is_not_kept(self, monkeypatch):
        class Marked(Exception):
            pass

        def listener(key, value, cause):
            error = Marked()
            kept.append(weakref.ref(error))
            raise error

        # Whoever collects records keeps their exceptions: here nobody does.
        monkeypatch.setattr(logging.getLogger("khronos_fast.memory"), "disabled", True)
        kept = []
        cache = cache_of_three(listener)
        cache.delete("a")
        gc.collect()
        assert [error() for error in kept] == [None]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_what_is_no_exception_leaves_the_cache_consistent(self, error, caplog):
        def listener(key, value, cause):
            calls.append(key)
            if len(calls) == 1:
                raise error

        calls = []
        cache = cache_of_three(listener)
        try:
            cache.clear()
        except error:
            pass
        assert len(cache) == 0
        cache.update(x=1, y=2, z=3, more=4)
        assert dict(cache.items()) == {"y": 2, "z": 3, "more": 4}

    def test_a_log_handler_that_uses_the_cache(self):
        def listener(key, value, cause):
            raise ZeroDivisionError

        class Handler(logging.Handler):
            def emit(self, record):
                if len(handled) < 5:
                    handled.append(record)
                    cache["from the handler"] = len(handled)
                    cache.delete("from the handler")

        handled = []
        handler = Handler()
        logger = logging.getLogger("khronos_fast.memory")
        logger.addHandler(handler)
        try:
            cache = cache_of_three(listener)
            cache.clear()
        finally:
            logger.removeHandler(handler)
        # Newer versions of logging drop what a handler logs while it is at work.
        assert len(handled) in (3, 5)
        assert len(cache) == 0

    def test_the_package_installs_no_handler_and_prints_nothing(self, capfd):
        # The package installs no handler, and does not leave its errors to the interpreter's "exception ignored".
        def listener(key, value, cause):
            raise ZeroDivisionError

        cache = cache_of_three(listener)
        cache.clear()
        assert "ignored" not in capfd.readouterr().err
        for name in ("khronos_fast", "khronos_fast.memory"):
            handlers = logging.getLogger(name).handlers
            assert all(isinstance(handler, logging.NullHandler) for handler in handlers)


class TestListenerThatUsesTheCache:
    def test_reads(self):
        seen = []

        def listener(key, value, cause):
            seen.append((cache.get(key), cache.get("b"), "b" in cache, list(cache)))

        cache = cache_of_three(listener)
        cache["d"] = 4
        assert seen == [(None, 2, True, ["c", "d", "b"])]

    def test_clears(self):
        calls = Listener()

        def listener(key, value, cause):
            calls(key, value, cause)
            cache.clear()

        cache = cache_of_three(listener)
        cache["d"] = 4
        assert len(cache) == 0
        assert calls[0] == ("a", 1, EVICTED)
        assert Counter(calls[1:]) == Counter([("b", 2, CLEARED), ("c", 3, CLEARED), ("d", 4, CLEARED)])

    def test_deletes_others(self):
        calls = Listener()

        def listener(key, value, cause):
            calls(key, value, cause)
            cache.delete("b")
            cache.pop("c", None)

        cache = cache_of_three(listener)
        cache.delete("a")
        assert len(cache) == 0
        assert Counter(calls) == Counter([("a", 1, DELETED), ("b", 2, DELETED), ("c", 3, DELETED)])

    def test_puts_back_what_was_evicted(self):
        """Each evicts the next, for as long as the listener goes on: it ends when the listener does."""
        turns = []

        def listener(key, value, cause):
            if cause is EVICTED and len(turns) < 50:
                turns.append(key)
                cache[key] = value

        cache = cache_of_three(listener)
        cache["d"] = 4
        assert len(turns) == 50
        assert len(cache) == 3
        assert set(cache) < set("abcd")

    def test_inserts_while_clearing(self):
        def listener(key, value, cause):
            if cause is CLEARED:
                cache[("again", key)] = value

        cache = MemoryCache(100, on_removal=listener)
        cache.update(dict.fromkeys(range(50), 1))
        cache.clear()
        assert dict(cache.items()) == {("again", key): 1 for key in range(50)}

    def test_resizes(self):
        def listener(key, value, cause):
            sizes.append(len(cache))
            cache.resize(max(1, cache.stats().maxsize - 1))

        sizes = []
        cache = MemoryCache(20, on_removal=listener)
        cache.update(dict.fromkeys(range(20), 1))
        cache["more"] = 1
        assert len(cache) == cache.stats().maxsize == 1
        assert len(sizes) == 20

    def test_expires_and_touches(self):
        clock = Clock()

        def listener(key, value, cause):
            calls.append((key, cause))
            cache.touch("b", ttl=100)
            cache.expire()

        calls = []
        cache = MemoryCache(on_removal=listener, timer=clock)
        cache.set("a", 1, ttl=1)
        cache.set("b", 1, ttl=2)
        cache.set("c", 1, ttl=1)
        clock.advance(1)
        cache.expire()
        assert Counter(calls) == Counter([("a", EXPIRED), ("c", EXPIRED)])
        clock.advance(50)
        assert list(cache) == ["b"]

    @given(
        operations,
        st.lists(
            st.tuples(st.sampled_from(["set", "delete", "clear", "popitem", "resize", "raise"]), st.integers(0, 9)),
            max_size=30,
        ),
    )
    def test_any_program_within_any_program(self, program, inner):
        inserted, sizes, calls, clock = [], [], Listener(), Clock()
        todo = list(inner)

        def fresh():
            inserted.append(Value(len(inserted)))
            return inserted[-1]

        def listener(key, value, cause):
            calls(key, value, cause)
            if not todo:
                return
            name, number = todo.pop()
            match name:
                case "set":
                    cache[number] = fresh()
                case "delete":
                    cache.delete(number)
                case "clear":
                    cache.clear()
                case "popitem":
                    if cache:
                        cache.popitem()
                case "resize":
                    cache.resize(number + 1)
                case "raise":
                    raise ZeroDivisionError
            sizes.append((len(cache), cache.stats().maxsize))

        logging.getLogger("khronos_fast.memory").disabled = True
        try:
            cache = MemoryCache(3, on_removal=listener, timer=clock, ttl=4 * TICK)
            for name, number in program:
                match name:
                    case "set" | "update":
                        cache[number] = fresh()
                    case "delete" | "pop":
                        cache.pop(number, None)
                    case "popitem":
                        if cache:
                            cache.popitem()
                    case "clear":
                        cache.clear()
                    case "resize":
                        cache.resize(number + 1)
                    case "advance":
                        clock.advance(TICK)
                    case _:
                        cache.get(number)
                assert len(cache) <= cache.stats().maxsize
            cache.expire()
        finally:
            logging.getLogger("khronos_fast.memory").disabled = False
        accounted(inserted, cache, [value for _, value, _ in calls])
        assert all(size <= maxsize for size, maxsize in sizes)


class TestWhatAListenerMayBe:
    def test_a_bound_method_of_a_subclass(self):
        class Counting(MemoryCache):
            def __init__(self, **settings):
                super().__init__(on_removal=self.left, **settings)
                self.gone = []

            def left(self, key, value, cause):
                self.gone.append(key)

        cache = Counting(maxsize=1)
        cache["a"] = cache["b"] = 1
        assert cache.gone == ["a"]

    def test_one_for_many_caches(self):
        listener = Listener()
        one, two = MemoryCache(1, on_removal=listener), MemoryCache(1, on_removal=listener)
        one["a"], two["a"] = 1, 2
        one.clear()
        two.clear()
        assert listener == [("a", 1, CLEARED), ("a", 2, CLEARED)]

    def test_what_it_is_given_is_not_kept_after_it_returns(self):
        cache = MemoryCache(on_removal=lambda key, value, cause: None)
        value = Value()
        gone = weakref.ref(value)
        cache["k"] = value
        del value
        cache.delete("k")
        assert gone() is None

    def test_an_event_that_another_thread_waits_for(self):
        event = threading.Event()
        cache = MemoryCache(1, on_removal=lambda key, value, cause: event.set())

        def press_out():
            cache["a"] = 1
            cache["b"] = 2

        task = Task(press_out)
        wait(event)
        task.result()
