"""The driver of plans for threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from khronos_fast.tiers.steps import Plan

_T = TypeVar("_T")


def run_plan(do: Callable[[Any], Any], plan: Plan[_T]) -> _T:
    """Do each step of a plan, and return what it comes to."""
    try:
        step = next(plan)
        while True:
            try:
                answer = do(step)
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as stop:
        result: _T = stop.value
        return result
