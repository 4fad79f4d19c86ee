"""Exact LRU over request logs of real applications: the same hits at the same requests as the oracle has."""

import functools
import gzip
import hashlib
import json

import pytest

from khronos_fast import MemoryCache

TRACES = ["cache2k_web12", "cache2k_orm_busy"]


@functools.cache
def numbers(path):
    with gzip.open(path, "rb") as file:
        return list(map(int, file))


def by_get(cache, keys):
    get, put = cache.get, cache.set
    hits = bytearray()
    for key in keys:
        if get(key) is None:
            put(key, True)
            hits.append(0)
        else:
            hits.append(1)
    return hits


def by_subscript(cache, keys):
    hits = bytearray()
    for key in keys:
        try:
            cache[key]
            hits.append(1)
        except KeyError:
            cache[key] = None
            hits.append(0)
    return hits


def by_setdefault(cache, keys):
    hits = bytearray()
    for turn, key in enumerate(keys):
        hits.append(cache.setdefault(key, turn) != turn)
    return hits


def by_get_or_compute(cache, keys):
    hits = bytearray()
    for key in keys:
        loaded = []
        cache.get_or_compute(key, lambda: loaded.append(1))  # noqa: B023 - called at once
        hits.append(not loaded)
    return hits


def by_get_many(cache, keys):
    hits = bytearray()
    for key in keys:
        hit = bool(cache.get_many([key]))
        if not hit:
            cache.set_many({key: 1})
        hits.append(hit)
    return hits


def by_touch(cache, keys):
    hits = bytearray()
    for key in keys:
        hit = cache.touch(key)
        if not hit:
            cache.update([(key, 1)])
        hits.append(hit)
    return hits


def oracle(shared_file, trace):
    with open(shared_file("oracles/lru_expected.json"), encoding="utf-8") as file:
        return json.load(file)[trace]


def compare(cache, replay, keys, expected):
    hits = replay(cache, keys)
    assert hits.count(0) == expected["misses"]
    assert hashlib.sha256(hits).hexdigest() == expected["hit_bitmap_sha256"]
    stats = cache.stats()
    assert stats.size == stats.maxsize == expected["size"]
    assert stats.evictions == expected["misses"] - expected["size"]
    return stats


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("trace", TRACES)
def test_hits_are_those_of_the_oracle(shared_file, trace, index):
    keys = numbers(shared_file(f"traces/{trace}.keys.gz"))
    expected = oracle(shared_file, trace)
    assert len(keys) == expected["requests"]
    assert len(set(keys)) == expected["unique"]
    size = expected["lru"][index]
    stats = compare(MemoryCache(size["size"]), by_get, keys, size)
    assert stats.misses == stats.inserts == size["misses"]
    assert stats.hits == expected["requests"] - size["misses"]


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    "kind", [str, lambda number: ("request", number), lambda number: -number << 40], ids=["str", "tuple", "far apart"]
)
def test_whatever_the_keys_are(shared_file, kind, index):
    # Each request brings a key object of its own: equal to the one that is there, not identical.
    keys = map(kind, numbers(shared_file("traces/cache2k_web12.keys.gz")))
    compare(
        MemoryCache(oracle(shared_file, "cache2k_web12")["lru"][index]["size"]),
        by_get,
        keys,
        oracle(shared_file, "cache2k_web12")["lru"][index],
    )


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("replay", [by_subscript, by_setdefault, by_get_or_compute, by_get_many, by_touch])
def test_whichever_method_looks(shared_file, replay, index):
    expected = oracle(shared_file, "cache2k_web12")["lru"][index]
    compare(MemoryCache(expected["size"]), replay, numbers(shared_file("traces/cache2k_web12.keys.gz")), expected)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize(
    "settings",
    [
        {"ttl": 1e6},
        {"max_weight": 2**31, "weigher": lambda key, value: 1},
        {"on_removal": lambda key, value, cause: None},
    ],
    ids=["ttl", "weigher", "listener"],
)
def test_whatever_else_the_cache_does(shared_file, settings, index):
    expected = oracle(shared_file, "cache2k_web12")["lru"][index]
    compare(
        MemoryCache(expected["size"], **settings),
        by_get,
        numbers(shared_file("traces/cache2k_web12.keys.gz")),
        expected,
    )


@pytest.mark.parametrize("index", range(3))
def test_a_weight_of_one_each_is_a_size(shared_file, index):
    expected = oracle(shared_file, "cache2k_web12")["lru"][index]
    cache = MemoryCache(2**31 - 1, max_weight=expected["size"], weigher=lambda key, value: 1)
    hits = by_get(cache, numbers(shared_file("traces/cache2k_web12.keys.gz")))
    assert hashlib.sha256(hits).hexdigest() == expected["hit_bitmap_sha256"]
    assert cache.stats().weight == len(cache) == expected["size"]
