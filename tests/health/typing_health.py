"""What type checkers make of the health collector: checked in `tests/test_typing.py`, never run.

A line that must be refused carries a `type: ignore` for the very error, and one that refuses nothing is an error too.
"""

# ruff: noqa: F841

from typing import Any, assert_type

from khronos_fast import MemoryCache
from khronos_fast.health import HealthCollector, Request, Status, any_of, basic, bearer


def allow(request: Request) -> bool:
    assert_type(request.method, str)
    assert_type(request.path, str)
    return request.headers.get("x") == "y"


async def allow_later(request: Request) -> bool:
    return True


def takes_nothing() -> bool:
    return True


def construction() -> None:
    assert_type(HealthCollector(), HealthCollector)
    named = HealthCollector("shop", version="1", worker="w1", interval=0.5, authorize=allow)
    asking = HealthCollector(authorize=allow_later)
    tokens = HealthCollector(authorize=any_of(bearer("token"), basic("user", "password"), allow, allow_later))
    HealthCollector("shop", "1")  # type: ignore[call-arg]
    HealthCollector(authorize=takes_nothing)  # type: ignore[arg-type]
    HealthCollector(interval="1")  # type: ignore[arg-type]
    bearer(5)  # type: ignore[arg-type]
    basic("user")  # type: ignore[call-arg]


def use(health: HealthCollector, cache: MemoryCache[str, int]) -> None:
    # What is registered comes back as it is.
    assert_type(health.register("cache", cache), MemoryCache[str, int])
    health.check("disk", takes_nothing, timeout=0.5, critical=False)
    assert_type(health.snapshot(), dict[str, Any])
    assert_type(health.pid, int)
    assert_type(health.worker, str)
    health.unregister("cache")
    health.register(5, cache)  # type: ignore[arg-type]
    health.check("disk", 5)  # type: ignore[arg-type]
    health.check("disk", allow)  # type: ignore[arg-type]


def status() -> None:
    assert_type(Status.UP.code, int)
    assert_type(Status.worst([Status.UP, Status.DOWN]), Status)
    text: str = Status.DEGRADED
