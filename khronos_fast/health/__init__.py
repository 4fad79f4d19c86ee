"""How a service is: what its caches, pools and breakers do, what its checks say, and the web face that shows it."""

from khronos_fast.health.authorization import Request, any_of, basic, bearer
from khronos_fast.health.collector import HealthCollector
from khronos_fast.health.status import Status

__all__ = ["HealthCollector", "Request", "Status", "any_of", "basic", "bearer"]
