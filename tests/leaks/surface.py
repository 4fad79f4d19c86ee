"""Everything public: each function and class that can be imported, or is had from a public call, and all its calls."""

import khronos_fast
from khronos_fast import databases, health, tiers
from khronos_fast._core.async_pool import AsyncLease, Borrowing
from khronos_fast._core.cached_coroutine import CachedCoroutineFunction
from khronos_fast._core.cached_function import CachedFunction
from khronos_fast._core.cached_method import CachedMethod
from khronos_fast._core.lru_cache import LruCacheFunction
from khronos_fast._core.pool import Lease
from khronos_fast.databases.async_lent import AsyncLent
from khronos_fast.databases.lent import Lent
from khronos_fast.health.sidecar import Sidecar
from khronos_fast.tiers.decorated import DecoratedFunction, DecoratedMethod
from khronos_fast.tiers.front import LookUp

MODULES = (khronos_fast, databases, health, tiers)
# What public calls return.
RETURNED = (
    *(CachedFunction, CachedCoroutineFunction, CachedMethod, LruCacheFunction, DecoratedFunction, DecoratedMethod),
    *(Lease, AsyncLease, Borrowing, LookUp, Lent, AsyncLent, Sidecar),
)
# What a class has without anybody having written it, or what is no call.
_NOT_CALLS = """
    abstractmethods annotate annotate_func annotations annotations_cache code defaults dict doc firstlineno kwdefaults
    match_args module name orig_bases parameters pyx_vtable qualname slotnames slots static_attributes type_params
    weakref init_subclass subclasshook getnewargs replace
    callable_proto_members_only non_callable_proto_members protocol_attrs
"""
NOT_CALLS = {f"__{name}__" for name in _NOT_CALLS.split()}


def calls_of(kind):
    """The names of what can be called or read of a class, its own and those it has from others here."""
    names = set()
    for each in kind.__mro__:
        # Where it is a property for the instances, the class can't say it.
        if not isinstance(each.__module__, str) or each.__module__.startswith("khronos_fast"):
            names |= {name for name in vars(each) if not name.startswith("_") or name.endswith("__")}
    fields = set(getattr(kind, "_fields", ()))  # those of a record are a tuple's
    return {name for name in names - NOT_CALLS - fields if not isinstance(getattr(kind, name, None), kind)}


def surface():
    """{"name", "Class", "Class.method", ...}"""
    names = set()
    for each in (*(getattr(module, name) for module in MODULES for name in module.__all__), *RETURNED):
        if isinstance(each, type):
            names |= {each.__name__} | {f"{each.__name__}.{name}" for name in calls_of(each)}
        elif callable(each):
            names.add(each.__name__)
    return names
