"""The source of the data fails for a while: who asks gets the last value, at once or nearly so, and no error."""

import time

from khronos_fast import TieredCache

is_up = True


def price(symbol: str) -> float:
    """Stand in for a service that is not always there."""
    if not is_up:
        raise ConnectionError("the exchange does not answer")
    return 100.0 + len(symbol)


with TieredCache(memory=1000, ttl=0.1, stale_ttl=60, name="prices") as cache:
    cached_price = cache.cached("price:{symbol}")(price)
    print(f"loaded: {cached_price('KHR')}")

    is_up = False
    time.sleep(0.15)
    print(f"its time is over, and the exchange is down: {cached_price('KHR')}")
    stats = cache.stats()
    print(f"stale values served: {stats.stale_served}, loads that failed: {stats.load_failures}")
    try:
        cached_price("NEW")
    except ConnectionError as error:
        print(f"never loaded, so there is no last value: {error}")

    is_up = True
    print(f"up again: {cached_price('NEW')}")
