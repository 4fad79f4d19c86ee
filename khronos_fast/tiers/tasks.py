"""The driver of plans for tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from khronos_fast.tiers.steps import Plan

_T = TypeVar("_T")


async def run_plan_async(do: Callable[[Any], Awaitable[Any]], plan: Plan[_T]) -> _T:
    """Do each step of a plan, and return what it comes to."""
    try:
        step = next(plan)
        while True:
            try:
                answer = await do(step)
            except BaseException as error:
                step = plan.throw(error)
            else:
                step = plan.send(answer)
    except StopIteration as stop:
        result: _T = stop.value
        return result
