"""Awaiting memoized coroutine functions, inside one coroutine: the event loop turns only if the decorator makes it.

The empty coroutine function that is measured beside them remembers nothing. It is what a hit could cost at the least.
"""

from khronos_fast.bench.keys import make_keys
from khronos_fast.bench.memoizer import Call, Function, Kind
from khronos_fast.bench.rounds import Outcome
from khronos_fast.bench.workload import Context
from khronos_fast.bench.workloads.memo import Supply, hits, misses

AWAITED = Call("await load(key)", kind=Kind.COROUTINE)


def async_hit(context: Context) -> Outcome:
    """Await a call with one `str`."""
    return hits(context, AWAITED, make_keys, _of_one)


def async_miss(context: Context) -> Outcome:
    """Await a call with a `str` that was never seen before, of a function that remembers all it may."""
    outcome = misses(context, AWAITED, _constant)
    outcome.notes.append(
        "khronos_fast, theine and async-lru run the function once for overlapping calls; others can't, or need not here"
    )
    outcome.notes.append("aiocache evicts nothing: what it remembers grows")
    return outcome


def _of_one(supply: Supply) -> Function:
    async def load(key: object) -> object:
        return supply.take(key)

    return load


def _constant() -> Function:
    async def load(key: str) -> str:  # noqa: ARG001
        return "a value"

    return load
