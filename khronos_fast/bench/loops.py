"""Generates the timed loops: the code a user would write, with nothing of the bench inside.

A loop is compiled anew for every contender and workload. The interpreter specialises each code object for the types
that it meets, and contenders that shared one would undo each other's specialisation.
"""

import time
from collections.abc import Callable, Coroutine, Iterable
from textwrap import dedent, indent
from typing import Any, cast

from khronos_fast.bench.contender import Calls

Clock = Callable[[], int]
Loop = Callable[[Iterable[Any], int, dict[str, object]], int]
"""(keys, passes, the names that the statement uses) -> nanoseconds."""
LoopMaker = Callable[[str, Iterable[str], str], Loop]
"""(statement, the names that it uses, what it calls a key) -> the loop that times it."""
CoroutineLoop = Callable[[Iterable[Any], int, dict[str, object]], Coroutine[Any, Any, int]]
"""The same as a coroutine function, for tasks that run it side by side."""
Run = Callable[[Coroutine[Any, Any, int]], int]
"""Runs a coroutine in an event loop until it is done."""

ON_MISS = "{on_miss}"

# With underscores, as the statement and its targets may well be about something called `keys`.
_TIMED = """
{define} loop(_keys, _passes, _clock{parameters}):
    _start = _clock()
    for _ in range(_passes):
        for {target} in _keys:
{statement}
    return _clock() - _start
"""

_COUNTED = """
def loop(keys{parameters}):
    misses = 0
    for key in keys:
{statement}
    return misses
"""


def timed_loop(statement: str, names: Iterable[str], target: str = "key", clock: Clock = time.perf_counter_ns) -> Loop:
    """A loop that runs the statement for every key, as many times over as it is told."""
    function = _function(_TIMED, statement, names, depth=3, target=target)

    def run(keys: Iterable[Any], passes: int, values: dict[str, object]) -> int:
        return cast(int, function(keys, passes, clock, **values))

    return run


def awaiting_loop(
    run: Run, statement: str, names: Iterable[str], target: str = "key", clock: Clock = time.perf_counter_ns
) -> Loop:
    """The same loop inside one coroutine, so that the statement may await; the clock runs inside it as well.

    Entering the event loop and leaving it is therefore not timed, and it costs a key what the plain loop costs.
    """
    loop = coroutine_loop(statement, names, target, clock)

    def run_it(keys: Iterable[Any], passes: int, values: dict[str, object]) -> int:
        return run(loop(keys, passes, values))

    return run_it


def coroutine_loop(
    statement: str, names: Iterable[str], target: str = "key", clock: Clock = time.perf_counter_ns
) -> CoroutineLoop:
    """The same loop as a coroutine, which something else is to run."""
    function = _function(_TIMED, statement, names, depth=3, target=target, define="async def")

    def make(keys: Iterable[Any], passes: int, values: dict[str, object]) -> Coroutine[Any, Any, int]:
        return cast("Coroutine[Any, Any, int]", function(keys, passes, clock, **values))

    return make


def miss_counter(
    calls: Calls, names: Iterable[str], *, store: bool
) -> Callable[[Iterable[Any], dict[str, object]], int]:
    """A loop that reads every key, stores those it missed if it is told to, and returns how many it missed."""
    counting = f"misses += 1\n{calls.set}" if store else "misses += 1"
    function = _function(_COUNTED, read_through(calls, counting), names, depth=2)

    def run(keys: Iterable[Any], values: dict[str, object]) -> int:
        return cast(int, function(keys, **values))

    return run


def read_through(calls: Calls, on_miss: str | None = None) -> str:
    """The contender's statement that reads a key and, on a miss, sets it (or does what it is told)."""
    return put_in(calls.read_through, ON_MISS, on_miss or calls.set)


def put_in(statement: str, gap: str, filling: str) -> str:
    """The statement with other statements where it has a gap, a line of its own, and indented like it."""
    lines = []
    for line in statement.splitlines():
        margin = line[: len(line) - len(line.lstrip())]
        lines.append(indent(filling, margin) if line.strip() == gap else line)
    return "\n".join(lines)


def empty_loop(target: str = "key") -> Loop:
    """The same loop with nothing in it: what the loop itself costs."""
    return timed_loop("pass", (), target)


def _function(
    template: str, statement: str, names: Iterable[str], depth: int, target: str = "key", define: str = "def"
) -> Callable[..., Any]:
    source = template.format(
        define=define,
        parameters="".join(f", {name}" for name in names),
        target=target,
        statement=indent(dedent(statement), "    " * depth),
    )
    namespace: dict[str, Any] = {}
    exec(compile(source, "<timed loop>", "exec"), namespace)
    return cast("Callable[..., Any]", namespace["loop"])
