"""Caches and a pool under a made-up load, and a page that shows them.

    python examples/health.py --port 9464

Open in a browser what it prints. Twice a minute the database is slow for some seconds: the pool runs out of
connections, borrowers wait, and some of them give up. Ctrl-C ends it. Without --port it ends by itself, after it has
shown in the terminal what others would ask for.
"""

import argparse
import base64
import json
import random
import secrets
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from khronos_fast import HealthCollector, MemoryCache, Pool, PoolTimeout, cached
from khronos_fast.health import basic

USER = "operator"
PERIOD, SLOW = 30.0, 6.0  # seconds between two slow times of the database, and how long they are
BORROWERS = 6


class Connection:
    """Stands in for one to a database."""

    def __init__(self) -> None:
        time.sleep(0.02)

    def query(self, seconds: float) -> None:
        """Take so long."""
        time.sleep(seconds)


class Shop:
    """What is looked at: two caches, a memoized function and a pool."""

    def __init__(self, health: HealthCollector) -> None:
        self.began = time.monotonic()
        self.prices = health.register("prices", MemoryCache[int, float](800, ttl=20))
        self.pages = health.register("pages", MemoryCache[str, str](5_000))
        self.discount = health.register("discount", cached(maxsize=500)(lambda customer: customer % 7 / 100))
        self.pool = health.register("database", Pool(Connection, min_size=2, max_size=4, acquire_timeout=0.5))
        health.register("orders", lambda: {"waiting": self.pool.stats().waiting, "is_slow": self.is_slow()})
        health.check("database answers in time", lambda: not self.is_slow(), critical=False)

    def is_slow(self) -> bool:
        """Whether the database has one of its slow times."""
        return (time.monotonic() - self.began) % PERIOD > PERIOD - SLOW

    def look_around(self) -> None:
        """Somebody reads a few pages."""
        for _ in range(200):
            product = int(random.expovariate(1 / 300))
            self.prices.get_or_compute(product, lambda: random.random() * 100)
            self.pages.get_or_compute(f"page:{product % 900}", str)
            self.discount(int(random.expovariate(1 / 200)))
        time.sleep(0.01)

    def order(self) -> None:
        """Somebody buys something."""
        try:
            with self.pool.connection() as connection:
                connection.query(random.uniform(0.3, 0.6) if self.is_slow() else random.uniform(0.002, 0.02))
        except PoolTimeout:
            pass  # the pool has counted it
        time.sleep(random.uniform(0.01, 0.05))


def keep_busy(shop: Shop, end: threading.Event) -> list[threading.Thread]:
    """Start the load."""

    def again_and_again(work: Callable[[], None]) -> None:
        while not end.is_set():
            work()

    works = [shop.look_around, shop.look_around, *[shop.order] * BORROWERS]
    threads = [threading.Thread(target=again_and_again, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    return threads


def ask(url: str, password: str | None = None) -> tuple[int, Any]:
    """Ask as a person with a password would, or without one."""
    request = Request(url)
    if password is not None:
        credentials = base64.b64encode(f"{USER}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
    try:
        with urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def show(url: str, password: str) -> None:
    """Ask for what a load balancer, a stranger and an operator would."""
    time.sleep(2.5)
    print("GET /health:              ", *ask(f"{url}/health"))
    print("GET /dashboard, anonymous:", *ask(f"{url}/dashboard"))
    _, seen = ask(f"{url}/dashboard", password)
    for name, cache in seen["services"]["caches"].items():
        print(f"{name}: {cache['gets']:,} look-ups, hit ratio {cache['hit_ratio']:.2f}, {cache['size']} entries")
    pool = seen["services"]["databases"]["database"]
    print(f"database: {pool['borrowed']} of {pool['size']} connections are out, {pool['acquired']} lent so far")
    print(f"this process: {seen['memory']['rss_mb']} MB, up for {seen['uptime']['formatted']}")


def port_number(text: str) -> int:
    """A port, or 0, for argparse."""
    port = int(text)
    if not 0 <= port < 65536:
        raise argparse.ArgumentTypeError(f"it must be from 0 to 65535, not {port}")
    return port


def main() -> None:
    """Serve until somebody ends it, or show what is served."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--port", type=port_number, help="serve at this port of the loopback until Ctrl-C; 0: a free one"
    )
    parser.add_argument("--password", help=f"of the user {USER} (default: one is made, and printed)")
    arguments = parser.parse_args()
    password = arguments.password or secrets.token_urlsafe(9)

    end = threading.Event()
    health = HealthCollector("shop", version="1.0", worker="1", authorize=basic(USER, password))
    shop = Shop(health)
    threads = []
    try:
        with health, health.serve(port=arguments.port or 0) as sidecar:
            threads = keep_busy(shop, end)
            if arguments.port is None:
                show(sidecar.url, password)
                return
            print(f"{sidecar.url}/dashboard (user {USER}, password {password})", flush=True)
            print("Ctrl-C ends it", flush=True)
            while not end.wait(1):
                pass
    except KeyboardInterrupt:
        print("ending")
    except OSError as error:
        if arguments.port is None:
            raise
        sys.exit(f"port {arguments.port}: {error.strerror}; choose another one with --port")
    finally:
        end.set()
        for thread in threads:
            thread.join()
        shop.pool.close()


if __name__ == "__main__":
    main()
