"""Borrowing without a contest: one borrower, and connections that are all open and idle."""

from contextlib import ExitStack
from functools import partial

from khronos_fast.bench.cases import Passes
from khronos_fast.bench.loops import put_in
from khronos_fast.bench.pooler import HELD, Face, PresentPooler, Size
from khronos_fast.bench.rounds import Case, Outcome, interleave, loop_cost
from khronos_fast.bench.workload import Context

CONNECTIONS = 10
NOTES = {
    Face.THREADS: "what is given back is neither rolled back nor pinged: SQLAlchemy and DBUtils are told not to",
    Face.TASKS: "asyncpg is told not to reset what is given back; aiosqlitepool pings and rolls back, and has no other "
    "way than async with",
}
_TURNS = range(1_000)


def acquire(context: Context, face: Face) -> Outcome:
    """Borrow a connection and give it back, in the fastest way that there is."""
    return _uncontended(context, face, block=False)


def block(context: Context, face: Face) -> Outcome:
    """The same by way of a context manager."""
    return _uncontended(context, face, block=True)


def _uncontended(context: Context, face: Face, *, block: bool) -> Outcome:
    settings = context.settings

    def make(present: PresentPooler) -> Case:
        pooler = present.contender
        opened = present.open(Size(CONNECTIONS, CONNECTIONS))
        with ExitStack() as on_failure:
            on_failure.callback(opened.close)
            opened.open(CONNECTIONS)
            statement = put_in(pooler.block if block else pooler.cycle, HELD, "pass")
            case = Passes(present, opened, statement, _TURNS, settings.sample_ns, make_loop=opened.make_loop)
            on_failure.pop_all()
        return case

    outcome = interleave(
        {present.name: partial(make, present) for present in context.poolers(face)},
        begin_round=lambda _round: loop_cost(_TURNS),
        rounds=settings.rounds,
        tick=context.tick,
    )
    outcome.notes.append(NOTES[face])
    return outcome
