"""theine (Rust policy, Python shards). Its `Memoize` takes `nolock=True` where one thread calls the function."""

from datetime import timedelta
from typing import Any

from khronos_fast.bench.contender import TTL
from khronos_fast.bench.memoizer import Kind, Memoizer


def _dispose(decorator: Any) -> None:
    # Its expiry task refers to the cache until `close`, and wakes up every second until then.
    decorator.cache.clear()
    decorator.cache.close()


MEMOIZE = Memoizer(
    name="theine Memoize (ttl)",
    module="theine",
    distribution="theine",
    decorator="theine.Memoize(size, ttl, nolock=True)",
    constants={"ttl": timedelta(seconds=TTL)},
    kinds=frozenset(Kind),
    lifetimes="one ttl",
    dispose=_dispose,
    remark="W-TinyLFU; nolock",
)

MEMOIZERS = (MEMOIZE,)
