"""Whichever memory a call can't have, it fails or does without; the cache holds what it held, or what it should."""

import pytest

from .support import FREE_THREADED, run_script

pytest.importorskip("_testcapi", reason="needs CPython's own test helpers, which refuse memory")
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="other threads of the interpreter would get no memory either")

CALLS = {
    "make": "MemoryCache(10, max_weight=5, weigher=weigher)",
    "set": "cache.set('new', 1)",
    "set-ttl": "cache.set('new', 1, ttl=5)",
    "overwrite": "cache.set('a:5', 1, ttl=7)",
    "get": "cache.get('a:5')",
    "touch": "cache.touch('a:5', ttl=9)",
    "setdefault": "cache.setdefault('new', 1)",
    "get_or_compute": "cache.get_or_compute('new', load)",
    "update": "cache.update({f'b:{number}': number for number in range(50)})",
    "set_many": "cache.set_many({f'b:{number}': number for number in range(50)}, ttl=3)",
    "get_many": "cache.get_many(['a:1', 'a:2', 'x'])",
    "delete_many": "cache.delete_many(['a:1', 'a:2', 'x'])",
    "delete": "cache.delete('a:1')",
    "keys": "list(cache.keys())",
    "values": "list(cache.values())",
    "items": "list(cache.items())",
    "stats": "cache.stats()",
    "repr": "repr(cache)",
    "copy": "copy.copy(cache)",
    "pickle": "pickle.loads(pickle.dumps(cache))",
    "grow": "cache.resize(1_000_000)",
    "shrink": "cache.resize(10)",
    "clear": "cache.clear()",
    "expire": "cache.expire()",
    "first-of-its-prefix": "cache.set('c:1', 1), cache.invalidate('c:*'), cache.set('c:1', 1)",
}

SCRIPT = """
import copy, pickle, sys
from _testcapi import remove_mem_hooks, set_nomemory
from khronos_fast import MemoryCache
from khronos_fast._core.audit import audit

call = compile(sys.argv[1], "call", "eval")

# Made here, as CPython 3.13 crashes where it has no memory for a function.
def weigher(key, value):
    return 1

def load():
    return 1

def filled(prefixed):
    cache = MemoryCache(100)
    for number in range(64):
        cache.set(f"a:{number}", [number], ttl=None if number % 2 else 1000.0)
    if prefixed:
        cache.invalidate("nothing:*")
    return cache

for prefixed in (False, True):
    untroubled = filled(prefixed)
    eval(call, globals() | {"cache": untroubled})
    for start in range(60):
        for stop in (start + 1, 0):         # this piece alone, or everything from it on
            cache = filled(prefixed)
            names = globals() | {"cache": cache}
            set_nomemory(start, stop)
            try:
                eval(call, names)
            except MemoryError:
                pass
            finally:
                remove_mem_hooks()
            audit(cache)
            eval(call, names)
            audit(cache)
            assert dict(cache) == dict(untroubled), (prefixed, start, stop)
"""


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_without_memory(call):
    run_script(SCRIPT, call)
