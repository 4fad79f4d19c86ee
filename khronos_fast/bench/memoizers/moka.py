"""moka-py (a Rust cache, a decorator in Python). Waiting for a concurrent call is off by default, and faster off."""

from khronos_fast.bench.memoizer import Kind, Memoizer

CACHED = Memoizer(
    name="moka-py cached (ttl)",
    module="moka_py",
    distribution="moka-py",
    decorator="moka_py.cached(maxsize=size, ttl=ttl)",
    kinds=frozenset(Kind),
    lifetimes="one ttl",
    requires="cached",
    remark="TinyLFU, its default policy",
)

MEMOIZERS = (CACHED,)
