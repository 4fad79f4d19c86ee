"""Others' circuit breakers: how each is recognised, and read, and what its words are in ours."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from khronos_fast.health import entries


class Reader(NamedTuple):
    """How a breaker is read."""

    kind: str
    """Whose it is."""
    read: Callable[[], dict[str, Any]]
    is_quick: bool = True
    """Whether that is a look at memory."""


_STATES = {
    "closed": "closed",
    "open": "open",
    "opened": "open",
    "half_open": "half_open",
    "half-open": "half_open",
    "half-opened": "half_open",
}


def state_of(word: Any) -> str | None:
    """Return a state in our words; None for a word that nobody knows."""
    return _STATES.get(word) if isinstance(word, str) else None


def reader_of(component: Any) -> Reader | None:
    """Return what reads a breaker as an entry; None for what is none.

    Only libraries that are imported already are asked whether it is theirs.
    """
    for find in (_of_pybreaker, _of_circuitbreaker, _of_purgatory, _of_ours):
        found = find(component)
        if found is not None:
            return found
    return None


def monitored(component: Any) -> dict[str, Any] | None:
    """Return the breakers by name where this is `circuitbreaker`'s monitor of all its breakers; else None."""
    library = sys.modules.get("circuitbreaker")
    if library is None or component is not library.CircuitBreakerMonitor:
        return None
    return {str(each.name): each for each in list(library.CircuitBreakerMonitor.get_circuits())}


def _of_pybreaker(component: Any) -> Reader | None:
    library = sys.modules.get("pybreaker")
    if library is None or not isinstance(component, library.CircuitBreaker):
        return None

    def read() -> dict[str, Any]:
        return entries.of_breaker("pybreaker", state_of(component.current_state), component.fail_counter)

    # With a storage of another kind, each look is a question to a server.
    return Reader("pybreaker", read, type(component._state_storage) is library.CircuitMemoryStorage)


def _of_circuitbreaker(component: Any) -> Reader | None:
    library = sys.modules.get("circuitbreaker")
    if library is None:
        return None
    if not isinstance(component, library.CircuitBreaker):
        # A function that one of them guards: that has it in its closure.
        guards = [each for each in _closed_over(component) if isinstance(each, library.CircuitBreaker)]
        if not guards or not hasattr(component, "__wrapped__"):
            return None
        component = guards[0]

    def read() -> dict[str, Any]:
        return entries.of_breaker("circuitbreaker", state_of(component.state), component.failure_count)

    return Reader("circuitbreaker", read)


def _closed_over(function: Any) -> list[Any]:
    found = []
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # nothing is in it yet
            found.append(cell.cell_contents)
    return found


def _of_purgatory(component: Any) -> Reader | None:
    library = sys.modules.get("purgatory")
    if library is None:
        return None
    if not isinstance(component, _purgatory_kinds()):
        return None

    def read() -> dict[str, Any]:
        context = component.context
        return entries.of_breaker("purgatory", state_of(context.state), context.failure_count)

    return Reader("purgatory", read)


def _purgatory_kinds() -> tuple[Any, ...]:
    from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker
    from purgatory.service._sync.circuitbreaker import SyncCircuitBreaker

    return AsyncCircuitBreaker, SyncCircuitBreaker


def _of_ours(component: Any) -> Reader | None:
    library = sys.modules.get("khronos_fast.tiers.breaker")
    if library is None or not isinstance(component, library.Breaker):
        return None

    def read() -> dict[str, Any]:
        return entries.of_breaker("khronos", component.state, opened=component.opened)

    return Reader("khronos", read)
