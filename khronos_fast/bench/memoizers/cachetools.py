"""cachetools (Python). `cached` takes no lock unless it is given one; methods have a decorator of their own.

Its manual finds a method's cache on the instance. Here all instances share one, which costs no attribute look-up.
"""

from khronos_fast.bench.memoizer import Memoizer

LRU = Memoizer(
    name="cachetools cached",
    module="cachetools",
    distribution="cachetools",
    decorator="cachetools.cached(cachetools.LRUCache(size))",
    for_methods="cachetools.cachedmethod(lambda self, cache=cachetools.LRUCache(size): cache)",
    remark="LRU",
)

TTL_CACHE = Memoizer(
    name="cachetools cached (ttl)",
    module="cachetools",
    distribution="cachetools",
    decorator="cachetools.cached(cachetools.TTLCache(size, ttl))",
    for_methods="cachetools.cachedmethod(lambda self, cache=cachetools.TTLCache(size, ttl): cache)",
    lifetimes="one ttl",
    remark="LRU",
)

MEMOIZERS = (LRU, TTL_CACHE)
