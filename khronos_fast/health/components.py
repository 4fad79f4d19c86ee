"""`Component`: something that is looked at, whatever it is, and how.

What is ours, and what only hands out numbers that lie in memory, is read by whoever takes the snapshot. All other code
is foreign: it may hang, or do I/O, so it is called in a thread of its own, and what it said last is shown.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from khronos_fast.health import breakers, entries, limiters
from khronos_fast.health.entries import Entry
from khronos_fast.health.probe import Bell, Probe
from khronos_fast.health.sanitize import clean, sanitize, type_name
from khronos_fast.health.service_loop import ServiceLoop

GROUPS = {
    "cache": "caches",
    "database": "databases",
    "breaker": "circuit_breakers",
    "limiter": "limiters",
    "other": "others",
}
"""The services that a kind of component is shown among."""
PATIENCE = 1.0
"""Seconds that foreign code may take."""
WANTED = (
    "something with stats() (a cache, pool, database), a memoized function, a circuit breaker (pybreaker, "
    "circuitbreaker, purgatory), a rate limiter (limits), or a callable that returns a dict"
)


Shown: TypeAlias = tuple[str, str, Entry]
"""To which service something belongs, its name there, and its entry."""


class Component:
    """Something that is looked at.

    Args:
        name: what it is called.
        component: what it is.
        kind: one of `GROUPS`; None: as it turns out.
        loop: where coroutines of it run.
        bell: is rung when foreign code says something else than before.

    Raises:
        TypeError: it is nothing that can be looked at.
    """

    def __init__(self, name: str, component: Any, kind: str | None, loop: ServiceLoop, bell: Bell) -> None:
        self.name = name
        self._loop, self._bell = loop, bell
        self.can_reset = False
        """Whether its totals may begin anew: `cache_clear()` of a memoized function has that effect, and foreign code
        may do what it likes."""
        self.memory = id(component)
        """Tells where its entries lie: two that have the same ones are two ways to look at one cache."""
        self.probe: Probe | None = None
        self._kind = kind
        self._word = "other"  # for its kind, where it can't be read
        self._read = self._find_reader(component)

    def read(self) -> list[Shown]:
        """Return what there is to show of it."""
        try:
            return self._read()
        except Exception as error:
            return [self._failed(type_name(error))]

    def _find_reader(self, component: Any) -> Callable[[], list[Shown]]:
        if breakers.monitored(component) is not None:
            return functools.partial(self._read_monitor, component)
        if isinstance(component, type):
            raise self._unfit(f"is the class {component.__name__}")
        breaker = None if self._kind == "other" else breakers.reader_of(component)
        if breaker is not None:
            self._word = breaker.kind
            return self._one("breaker", breaker.read) if breaker.is_quick else self._foreign("breaker", breaker.read)
        limiter = limiters.reader_of(component)
        if limiter is not None:
            return self._one("limiter", limiter)
        if callable(getattr(component, "stats", None)):
            if _is_ours(component):
                self.memory = id(getattr(component, "memory", component))
                return lambda: self._of_answer(component.stats())
            return self._foreign("other", component.stats)
        if _is_memoizer(component):
            self.can_reset = True
            self.memory = id(getattr(component, "cache", component))
            return self._one("cache", functools.partial(_read_memoizer, component))
        if callable(getattr(component, "cache_info", None)):
            return self._foreign("cache", component.cache_info)
        if callable(component):
            return self._foreign("other", component)
        raise self._unfit(f"is of type {type(component).__name__}")

    def _unfit(self, what: str) -> TypeError:
        return TypeError(f"what is registered as {self.name!r} must be {WANTED}, but it {what}")

    # ---------------------------------------------------------------------- reading

    def _group(self, usual: str) -> str:
        return GROUPS[self._kind or usual]

    def _one(self, usual: str, read: Callable[[], Entry]) -> Callable[[], list[Shown]]:
        return lambda: [(self._group(usual), self.name, read())]

    def _foreign(self, usual: str, call: Callable[[], Any]) -> Callable[[], list[Shown]]:
        self.can_reset = True
        probe = self.probe = Probe(f"component {self.name}", call, PATIENCE, self._loop, _shape, self._bell)
        group = self._group(usual)

        def read() -> list[Shown]:
            outcome = probe.look()
            if outcome is None:
                return []
            if outcome.is_late or outcome.error is not None:
                return [self._failed(outcome.error, group)]
            if usual == "breaker":
                return [(group, self.name, outcome.value)]
            return self._of_answer(outcome.value, usual)

        return read

    def _of_answer(self, answer: Any, usual: str = "other") -> list[Shown]:
        group = self._group(usual)
        if type(answer) is dict:
            entry = entries.of_answer(answer)
            if group == "circuit_breakers":
                entry |= entries.of_breaker("other", breakers.state_of(answer.get("state")))
            return [(group, self.name, entry)]
        found = entries.of_stats(answer)
        if found is None:
            return [self._failed("TypeError")]
        group, entry = found
        shown = [(GROUPS[self._kind] if self._kind else group, self.name, entry)]
        redis = entry if entry["kind"] == "redis" else entry.get("redis")
        if redis is not None:
            breaker = entries.of_breaker("redis", redis["breaker"], opened=redis["breaker_opened"])
            shown.append(("circuit_breakers", f"{self.name}.redis", breaker))
        return shown

    def _read_monitor(self, monitor: Any) -> list[Shown]:
        group = self._group("breaker")
        shown = []
        for name, breaker in (breakers.monitored(monitor) or {}).items():
            found = breakers.reader_of(breaker)
            if found is not None:
                shown.append((group, clean(f"{self.name}.{name}"), found.read()))
        return shown

    def _failed(self, error: str | None, group: str | None = None) -> Shown:
        return group or self._group("other"), self.name, entries.of_failure(self._word, error)


def _is_ours(component: Any) -> bool:
    """Whether its `stats` is of this package: a subclass may have its own, and that is foreign."""
    if "stats" in getattr(component, "__dict__", ()):
        return False
    for each in type(component).__mro__:
        if "stats" in vars(each):
            return each.__module__.startswith("khronos_fast.")
    return False


def _shape(answer: Any) -> Any:
    if entries.is_record(answer):
        return answer
    as_dict = getattr(answer, "as_dict", None) or getattr(answer, "_asdict", None)
    return sanitize(as_dict() if callable(as_dict) else answer)


def _is_memoizer(component: Any) -> bool:
    """Whether it is a function that `cached`, `lru_cache` or functools' own has made."""
    kind = type(component)
    return hasattr(kind, "cache_info") and kind.__module__.partition(".")[0] in ("functools", "khronos_fast")


def _read_memoizer(function: Any) -> Entry:
    cache: Any = getattr(function, "cache", None)
    info = function.cache_info()
    return entries.of_cache_info(info) if cache is None else entries.of_memoizer(cache.stats(), info)
