"""What a group is made of: workloads, each of which becomes one table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from khronos_fast.bench.contender import Present, Role
from khronos_fast.bench.request_log import RequestLog
from khronos_fast.bench.rounds import Outcome, Tick
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.units import Unit


@dataclass(frozen=True, slots=True)
class Context:
    """What a workload may use."""

    settings: Settings
    present: tuple[Present, ...]
    log: Callable[[], RequestLog]
    """Loads the request log at the first call; most workloads need none."""
    tick: Tick

    def with_role(self, role: Role) -> list[Present]:
        """The contenders that take part in one of the comparisons."""
        return [present for present in self.present if role in present.contender.roles]


@dataclass(frozen=True, slots=True)
class Workload:
    """One table."""

    name: str
    title: str
    unit: Unit
    run: Callable[[Context], Outcome]
    curve: tuple[str, float] | None = None
    """(the curve's name, this workload's place on its x axis), where several workloads make one curve."""


@dataclass(frozen=True, slots=True)
class Group:
    """Workloads that are asked for together."""

    name: str
    title: str
    workloads: Callable[[Settings], Sequence[Workload]]
