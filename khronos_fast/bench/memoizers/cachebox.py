"""cachebox (Rust caches, a decorator in Python).

By default it copies what it returns if that is a list, a dict or a set, and makes a lock for every miss. Both can be
switched off, and are: `functools.lru_cache` does neither. A method shares the cache of its class, which is faster than
finding one on the instance.
"""

from khronos_fast.bench.memoizer import Kind, Memoizer

_BOTH_KINDS = frozenset(Kind)

LRU = Memoizer(
    name="cachebox cached",
    module="cachebox",
    distribution="cachebox",
    decorator="cachebox.cached(cachebox.LRUCache(size, capacity=size), postprocess=None, lock=None)",
    kinds=_BOTH_KINDS,
    remark="LRU",
)

TTL_CACHE = Memoizer(
    name="cachebox cached (ttl)",
    module="cachebox",
    distribution="cachebox",
    decorator="cachebox.cached(cachebox.TTLCache(size, ttl, capacity=size), postprocess=None, lock=None)",
    kinds=_BOTH_KINDS,
    lifetimes="one ttl",
    remark="evicts first in, first out",
)

MEMOIZERS = (LRU, TTL_CACHE)
