"""Wrong arguments: the right exception, a message that says what was given and what is wanted, and nothing changed."""

import inspect
import math
import re
from datetime import timedelta

import pytest

from khronos_fast import KhronosError, MemoryCache

from .support import Clock, Listener, state

NAN, INF = math.nan, math.inf


class IntLike:
    """A number that is not an `int`, though it could be made one."""

    def __index__(self):
        return 5

    def __int__(self):
        return 5

    def __float__(self):
        return 5.0

    def __repr__(self):
        return "IntLike()"


class Unhashable:
    __hash__ = None

    def __repr__(self):
        return "Unhashable()"


BAD_TTLS = [
    *((bad, ValueError) for bad in (0, 0.0, -0.0, -1, -0.5, -1e-300, NAN, INF, -INF)),
    *((bad, ValueError) for bad in (timedelta(0), timedelta(seconds=-1), timedelta(microseconds=-1), timedelta.min)),
    *((bad, TypeError) for bad in (True, False, "5", b"5", "", [], (1,), {}, 1j, object(), int, Unhashable())),
]
BAD_SIZES = [
    *((bad, ValueError) for bad in (0, -1, 2**31, 2**63, 2**64, 10**100, -(2**31), -(2**64))),
    *((bad, TypeError) for bad in (True, False, 1.0, 5.5, NAN, INF, "5", b"5", None, [], (), 1j, object(), IntLike())),
]
BAD_WEIGHTS = [
    *((bad, ValueError) for bad in (0, -1, -(2**64))),
    *((bad, TypeError) for bad in (True, False, 1.0, "5", [], 1j, object(), IntLike())),
]
NOT_CALLABLE = [5, "name", [], object(), 1.5, True]
NOT_TEXT = [5, b"bytes", [], object(), 1.5, True, ("a",)]
BAD_KEYS = [[], {}, set(), bytearray(), Unhashable(), ([],), (1, {})]


def one(key, value):
    return 1


def cases():
    """(what is called, the error, the parameter that must be named, the value that must be shown)"""
    for bad, error in BAD_SIZES:
        yield f"MemoryCache({bad!r})", lambda _, bad=bad: MemoryCache(bad), error, "maxsize", bad
        yield f"MemoryCache(maxsize={bad!r})", lambda _, bad=bad: MemoryCache(maxsize=bad), error, "maxsize", bad
        yield f"resize({bad!r})", lambda c, bad=bad: c.resize(bad), error, "maxsize", bad
    for bad, error in BAD_TTLS:
        yield f"MemoryCache(ttl={bad!r})", lambda _, bad=bad: MemoryCache(ttl=bad), error, "ttl", bad
        yield f"set(ttl={bad!r})", lambda c, bad=bad: c.set("a", 9, ttl=bad), error, "ttl", bad
        yield f"set(ttl={bad!r}), absent", lambda c, bad=bad: c.set("x", 9, bad), error, "ttl", bad
        yield f"set_many(ttl={bad!r})", lambda c, bad=bad: c.set_many({"a": 9, "x": 9}, ttl=bad), error, "ttl", bad
        yield f"set_many({{}}, ttl={bad!r})", lambda c, bad=bad: c.set_many({}, ttl=bad), error, "ttl", bad
        yield f"touch(ttl={bad!r})", lambda c, bad=bad: c.touch("a", ttl=bad), error, "ttl", bad
        yield f"touch(ttl={bad!r}), absent", lambda c, bad=bad: c.touch("x", ttl=bad), error, "ttl", bad
        yield f"get_or_compute(ttl={bad!r})", lambda c, bad=bad: c.get_or_compute("x", fail, ttl=bad), error, "ttl", bad
    yield "MemoryCache(ttl=...)", lambda _: MemoryCache(ttl=...), TypeError, "ttl", ...
    for bad, error in BAD_WEIGHTS:
        call = lambda _, bad=bad: MemoryCache(max_weight=bad, weigher=one)  # noqa: E731
        yield f"MemoryCache(max_weight={bad!r})", call, error, "max_weight", bad
    for bad in NOT_CALLABLE:
        call = lambda _, bad=bad: MemoryCache(max_weight=5, weigher=bad)  # noqa: E731
        yield f"MemoryCache(weigher={bad!r})", call, TypeError, "weigher", bad
        yield f"MemoryCache(timer={bad!r})", lambda _, bad=bad: MemoryCache(timer=bad), TypeError, "timer", bad
        call = lambda _, bad=bad: MemoryCache(on_removal=bad)  # noqa: E731
        yield f"MemoryCache(on_removal={bad!r})", call, TypeError, "on_removal", bad
        call = lambda c, bad=bad: c.get_or_compute("x", bad)  # noqa: E731
        yield f"get_or_compute(loader={bad!r})", call, TypeError, "loader", bad
    yield "get_or_compute(loader=None)", lambda c: c.get_or_compute("x", None), TypeError, "loader", None
    yield "MemoryCache(max_weight=5)", lambda _: MemoryCache(max_weight=5), ValueError, "weigher", "max_weight"
    yield "MemoryCache(weigher=one)", lambda _: MemoryCache(weigher=one), ValueError, "max_weight", "weigher"
    for bad in NOT_TEXT:
        call = lambda _, bad=bad: MemoryCache(delimiter=bad)  # noqa: E731
        yield f"MemoryCache(delimiter={bad!r})", call, TypeError, "delimiter", bad
        yield f"MemoryCache(name={bad!r})", lambda _, bad=bad: MemoryCache(name=bad), TypeError, "name", bad
    yield "MemoryCache(delimiter=None)", lambda _: MemoryCache(delimiter=None), TypeError, "delimiter", None


def fail():
    pytest.fail("the loader must not be called")


def shows(message, given):
    """Whether the message shows the value, or at least its type, or that it is too large to be shown."""
    candidates = [repr(given), str(given), type(given).__name__]
    return any(candidate and candidate in message for candidate in candidates)


@pytest.fixture
def cache():
    listener = Listener()
    cache = MemoryCache(4, ttl=100, timer=Clock(), on_removal=listener)
    cache.set("a", 1)
    cache.set("b", None, ttl=None)
    cache.set(("c", 3), [3], ttl=7)
    before = state(cache)
    yield cache
    assert state(cache) == before
    assert listener == []


TABLE = list(cases())


@pytest.mark.parametrize(
    ("call", "error", "parameter", "given"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE]
)
def test_is_refused_with_a_message_and_without_effect(cache, call, error, parameter, given):
    with pytest.raises(error) as caught:
        call(cache)
    # Neither is a subclass of the other; a subclass of both worlds is allowed, of the wrong one is not.
    assert not isinstance(caught.value, ValueError if error is TypeError else TypeError)
    message = str(caught.value)
    assert parameter in message, "it does not say which parameter"
    assert shows(message, given), "it does not say what was given"
    # What is wanted takes more words than naming what was given.
    assert len(message.split()) >= 5, "it does not say what is wanted"


KEYED = {
    "get": lambda c, key: c.get(key),
    "get with a default": lambda c, key: c.get(key, 5),
    "peek": lambda c, key: c.peek(key),
    "[]": lambda c, key: c[key],
    "in": lambda c, key: key in c,
    "set": lambda c, key: c.set(key, 1),
    "set with a ttl": lambda c, key: c.set(key, 1, ttl=5),
    "[]=": lambda c, key: c.__setitem__(key, 1),
    "setdefault": lambda c, key: c.setdefault(key, 1),
    "update": lambda c, key: c.update([(key, 1)]),
    "delete": lambda c, key: c.delete(key),
    "del": lambda c, key: c.__delitem__(key),
    "pop": lambda c, key: c.pop(key),
    "pop with a default": lambda c, key: c.pop(key, 5),
    "ttl": lambda c, key: c.ttl(key),
    "touch": lambda c, key: c.touch(key),
    "get_many": lambda c, key: c.get_many([key]),
    "delete_many": lambda c, key: c.delete_many([key]),
    "get_or_compute": lambda c, key: c.get_or_compute(key, fail),
}


@pytest.mark.parametrize("call", KEYED)
@pytest.mark.parametrize("key", BAD_KEYS, ids=repr)
def test_unhashable_keys_are_what_they_are_for_a_dict(cache, call, key):
    with pytest.raises(TypeError) as of_dict:
        hash(key)
    with pytest.raises(TypeError) as caught:
        KEYED[call](cache, key)
    assert "unhashable" in str(of_dict.value)
    assert re.search(f"unhashable|{type(key).__name__}", str(caught.value))


@pytest.mark.parametrize("call", KEYED)
@pytest.mark.parametrize("key", BAD_KEYS[:2], ids=repr)
def test_unhashable_keys_are_refused_by_an_empty_cache_too(call, key):
    cache = MemoryCache()
    with pytest.raises(TypeError):
        KEYED[call](cache, key)
    assert len(cache) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.get(),
        lambda c: c.get("a", 1, 2),
        lambda c: c.peek(),
        lambda c: c.set("a"),
        lambda c: c.set("a", 1, 2, 3),
        lambda c: c.set("a", 1, expiry=5),
        lambda c: c.set("a", 1, 5, ttl=5),
        lambda c: c.pop(),
        lambda c: c.pop("a", 1, 2),
        lambda c: c.popitem("a"),
        lambda c: c.delete(),
        lambda c: c.delete("a", "b"),
        lambda c: c.setdefault(),
        lambda c: c.ttl(),
        lambda c: c.touch(),
        lambda c: c.touch("a", 1, 2),
        lambda c: c.get_many(),
        lambda c: c.get_many("a", "b"),
        lambda c: c.set_many(),
        lambda c: c.delete_many(),
        lambda c: c.get_or_compute("a"),
        lambda c: c.get_or_compute("a", fail, 5, 6),
        lambda c: c.get_or_compute("a", loader=fail, unknown=1),
        lambda c: c.clear(1),
        lambda c: c.expire(1),
        lambda c: c.stats(1),
        lambda c: c.resize(),
        lambda c: c.resize(1, 2),
        lambda c: c.keys(1),
        lambda c: c.update({}, {}),
        lambda c: MemoryCache(1, 2, 3),
        lambda c: MemoryCache(1, 2, 5, one),
        lambda c: MemoryCache(unknown=1),
        lambda c: MemoryCache(1, maxsize=1),
    ],
    ids=lambda call: inspect.getsource(call).split(":", 1)[1].strip().rstrip(","),
)
def test_wrong_number_or_names_of_arguments(cache, call):
    with pytest.raises(TypeError):
        call(cache)


@pytest.mark.parametrize("given", [None, 5, 1.5, object(), len], ids=repr)
@pytest.mark.parametrize("method", ["get_many", "delete_many", "set_many", "update"])
def test_what_cannot_be_walked(cache, method, given):
    with pytest.raises((TypeError, AttributeError)):
        getattr(cache, method)(given)


@pytest.mark.parametrize("given", [[1], [("x",)], [("x", 1, 2)], [None], [[]], ["abc"]], ids=repr)
@pytest.mark.parametrize("method", ["update", "set_many"])
def test_what_has_no_pairs(cache, method, given):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        getattr(cache, method)(given)


def test_what_goes_wrong_half_way_leaves_what_was_done():
    """Methods on many keys are sequences of single ones."""
    cache = MemoryCache()
    with pytest.raises(TypeError):
        cache.update([("a", 1), ([], 2), ("c", 3)])
    assert cache == {"a": 1}
    with pytest.raises(TypeError):
        cache.delete_many(["a", []])
    assert cache == {}


@pytest.mark.parametrize("attribute", ["maxsize", "name", "max_weight", "delimiter", "hits", "anything"])
def test_settings_are_not_assigned_to(attribute):
    cache = MemoryCache(5, name="kept")
    with pytest.raises((AttributeError, TypeError)):
        setattr(cache, attribute, 7)
    assert cache.stats().maxsize == 5
    assert cache.name == "kept"


def test_numbers_at_the_edges_are_accepted():
    class Size(int):
        pass

    for maxsize in (1, 2**31 - 1, Size(5)):
        assert MemoryCache(maxsize).stats().maxsize == maxsize
    cache = MemoryCache()
    for ttl in (1, 1.0, 0.001, Size(5), timedelta(microseconds=1), timedelta.max, 10**9, 1e300, 5e-324):
        MemoryCache(ttl=ttl)
        cache.set("k", 1, ttl=ttl)
        cache.touch("k", ttl=ttl)
    assert MemoryCache(max_weight=1, weigher=one).stats().max_weight == 1
    assert MemoryCache(name="", delimiter="::").name == ""


def test_a_negative_number_beyond_floats_is_negative():
    cache = MemoryCache()
    for call in (lambda: MemoryCache(ttl=-(10**400)), lambda: cache.set("k", 1, ttl=-(10**400))):
        with pytest.raises(ValueError, match="ttl"):
            call()
    assert len(cache) == 0


@pytest.mark.parametrize("ttl", [10**400, 2**1024], ids=["10**400", "2**1024"])
def test_numbers_beyond_floats_are_refused_or_as_good_as_for_ever(ttl):
    clock = Clock()
    cache = MemoryCache(timer=clock)
    try:
        cache.set("k", 1, ttl=ttl)
    except ValueError:
        assert len(cache) == 0
        return
    clock.advance(1e9)
    assert cache["k"] == 1


def test_text_that_does_not_print_is_still_a_name():
    for name in ("", "\0", "\udc80", "a\nb", "x" * 10_000, "%s %d {}"):
        assert isinstance(repr(MemoryCache(name=name)), str)
        assert MemoryCache(name=name).name == name


def test_a_message_survives_whatever_was_given():
    class Nasty:
        __hash__ = None

        def __repr__(self):
            raise RuntimeError("no repr")

    nasty = Nasty()
    for call in (
        lambda: MemoryCache(nasty),
        lambda: MemoryCache(ttl=nasty),
        lambda: MemoryCache(timer=nasty),
        lambda: MemoryCache().set("k", 1, ttl=nasty),
        lambda: MemoryCache().get_or_compute("k", nasty),
        lambda: MemoryCache().resize(nasty),
    ):
        # Whether the message or its own failure: an error that reaches the caller.
        with pytest.raises((TypeError, RuntimeError)):
            call()


def test_errors_of_ours_have_one_root():
    assert issubclass(KhronosError, Exception)
