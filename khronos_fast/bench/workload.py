"""What a group is made of: workloads, each of which becomes one table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from khronos_fast.bench.candidate import Found
from khronos_fast.bench.contender import Present, Role
from khronos_fast.bench.contenders import FLOOR
from khronos_fast.bench.globs import Shape
from khronos_fast.bench.matcher import PresentMatcher
from khronos_fast.bench.memoizer import Kind, PresentMemoizer
from khronos_fast.bench.pooler import Face, PresentPooler
from khronos_fast.bench.redis_server import Server, ServerError
from khronos_fast.bench.request_log import RequestLog
from khronos_fast.bench.rounds import Outcome, Tick
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.tiering import PresentTiered, Tier
from khronos_fast.bench.units import Unit


def no_server() -> Server:
    """What asks for a server where a run has none."""
    raise ServerError("this run has no server")


@dataclass(frozen=True, slots=True)
class Context:
    """What a workload may use."""

    settings: Settings
    present: tuple[Found, ...]
    log: Callable[[], RequestLog]
    """Loads the request log at the first call; most workloads need none."""
    tick: Tick
    server: Callable[[], Server] = no_server
    """Finds or starts the Redis server at the first call, or raises `ServerError`; most workloads need none."""

    def with_role(self, role: Role) -> list[Present]:
        """The caches that take part in one of the comparisons."""
        return [one for one in self.present if isinstance(one, Present) and role in one.contender.roles]

    def memoizers(self, kind: Kind) -> list[PresentMemoizer]:
        """The decorators that take functions of this kind."""
        return [one for one in self.present if isinstance(one, PresentMemoizer) and kind in one.contender.kinds]

    def matchers(self, shape: Shape) -> list[PresentMatcher]:
        """The matchers that take globs of this kind."""
        return [one for one in self.present if isinstance(one, PresentMatcher) and shape in one.contender.shapes]

    def poolers(self, face: Face) -> list[PresentPooler]:
        """The pools that serve threads, or tasks."""
        return [one for one in self.present if isinstance(one, PresentPooler) and face is one.contender.face]

    def tiered(self, tier: Tier, face: Face) -> list[PresentTiered]:
        """The caches that read from this tier for threads or for tasks, and those that have nothing but the other."""
        return [
            one
            for one in self.present
            if isinstance(one, PresentTiered)
            and tier in one.contender.tiers
            and (face is one.contender.face or one.contender.stands_in)
        ]


@dataclass(frozen=True, slots=True)
class Workload:
    """One table."""

    name: str
    title: str
    unit: Unit
    run: Callable[[Context], Outcome]
    curve: tuple[str, float] | None = None
    """(the curve's name, this workload's place on its x axis), where several workloads make one curve."""
    floor: str = FLOOR
    """The contender that all others are compared with, because that is what carries over between machines."""


@dataclass(frozen=True, slots=True)
class Group:
    """Workloads that are asked for together."""

    name: str
    title: str
    workloads: Callable[[Settings], Sequence[Workload]]
