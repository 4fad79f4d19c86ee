"""Rate limiters of `limits`, which count only by who asks: here all are counted together, and nobody is named."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from khronos_fast.health.status import Status
from khronos_fast.tiers.stats import Counters


def reader_of(component: Any) -> Callable[[], dict[str, Any]] | None:
    """Return what reads a limiter as an entry; None for what is none.

    From then on its `hit` counts: that attribute of this very object is replaced. It does so once, however often the
    limiter is registered.
    """
    if not _is_limiter(component):
        return None
    verdicts = getattr(component.hit, "_khronos_verdicts", None)
    if verdicts is None:
        verdicts = Counters()
        component.hit = _counting(component.hit, verdicts)
    strategy = type(component).__name__

    def read() -> dict[str, Any]:
        counts = verdicts.as_dict()
        return {
            "kind": "limits",
            "status": Status.UP.value,
            "strategy": strategy,
            "allowed": counts.get("allowed", 0),
            "denied": counts.get("denied", 0),
        }

    return read


def _is_limiter(component: Any) -> bool:
    kinds = (sys.modules.get("limits.strategies"), sys.modules.get("limits.aio.strategies"))
    return any(library is not None and isinstance(component, library.RateLimiter) for library in kinds)


def _counting(hit: Callable[..., Any], verdicts: Counters) -> Callable[..., Any]:
    def hit_and_count(*args: Any, **kwargs: Any) -> Any:
        allowed = hit(*args, **kwargs)
        verdicts.add("allowed" if allowed else "denied")
        return allowed

    async def await_and_count(*args: Any, **kwargs: Any) -> Any:
        allowed = await hit(*args, **kwargs)
        verdicts.add("allowed" if allowed else "denied")
        return allowed

    counting = functools.wraps(hit)(await_and_count if inspect.iscoroutinefunction(hit) else hit_and_count)
    counting._khronos_verdicts = verdicts  # type: ignore[attr-defined]
    return counting
