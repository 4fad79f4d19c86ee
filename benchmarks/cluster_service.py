"""The service of examples/cluster under load, with its cache and without: requests a second, and how long each takes.

`python benchmarks/cluster_service.py`. It starts the example as it is (nginx, a worker a core, Redis), asks it for the
projects of one user after another, over one connection and over many, and prints for each run the answers a second, the
median and the 99th percentile of their times, and from where the answers came, by the workers' own counts. The load
comes from the same machine, and takes its part of it.
"""

import argparse
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The tests' load generator is nothing but that, so that one does for both.
sys.path.insert(0, str(ROOT / "tests" / "cluster"))
from load import Load, Report, Request, request  # noqa: E402

USERS = 100
CONNECTIONS = (1, 100)
AGE = 1.2  # seconds; the workers look at their figures once a second
FIGURES = {
    "memory": r'khronos_cache_tier_hits_total\{.*tier="memory"',
    "redis": r'khronos_cache_tier_hits_total\{.*tier="redis"',
    "loads": r"cache_load_duration_seconds_count\{",
}


def read(number: int) -> Request:
    """One user after another."""
    user = number % USERS + 1
    return request(f"/users/{user}/projects", f'{{"user": {user}, ')


def read_mostly(number: int) -> Request:
    """The same, and of a hundred requests one that changes a project; a user is changed and read by others at once."""
    if number % 100 != 50:
        return read(number * 7)
    user = number // 100 % USERS + 1
    body = f'{{"name": "renamed {number}"}}'
    return request(f"/users/{user}/projects/{user * 10}", '{"id": ', method="PUT", body=body)


RUNS = (
    ("no cache", "off", read),
    ("cache, 1 % are updates", "on", read_mostly),
    ("cache, only reads", "on", read),
)


class Service:
    """The example, running."""

    def __init__(self, http_port: int, worker_ports: range, token: str) -> None:
        self.http_port, self.worker_ports, self.token = http_port, worker_ports, token

    def warm(self) -> None:
        """Have every worker know every user."""
        for port, user in itertools.product(self.worker_ports, range(1, USERS + 1)):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/users/{user}/projects").read()

    def counts(self) -> Counter[str]:
        """What the caches of all workers have counted, a second ago at the latest."""
        time.sleep(AGE)
        found: Counter[str] = Counter()
        for port in self.worker_ports:
            headers = {"Authorization": f"Bearer {self.token}"}
            asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers=headers)
            text = urllib.request.urlopen(asked).read().decode()
            for line, (name, pattern) in itertools.product(text.splitlines(), FIGURES.items()):
                if re.match(pattern, line):
                    found[name] += int(float(line.rpartition(" ")[2]))
        return found


@contextmanager
def service(folder: str, arguments: argparse.Namespace, cache: str) -> Iterator[Service]:
    """Run the example."""
    http_port, https_port = arguments.port, arguments.port + 1
    worker_ports = range(arguments.port + 2, arguments.port + 2 + arguments.workers)
    given = {
        "--data": folder,
        "--workers": arguments.workers,
        "--http-port": http_port,
        "--https-port": https_port,
        "--worker-port": worker_ports[0],
    }
    command = [sys.executable, str(ROOT / "examples" / "cluster" / "start.py")]
    command += [str(word) for option in given.items() for word in option]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "CACHE": cache})
    assert process.stdout is not None
    try:
        if not any("Ctrl-C ends it" in line for line in process.stdout):
            raise SystemExit(process.wait())
        yield Service(http_port, worker_ports, (Path(folder) / "token").read_text())
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate()


def measure(
    running: Service, connections: int, choose: Callable[[int], Request], seconds: float
) -> tuple[Report, Counter[str]]:
    """Ask for so long."""
    before = running.counts()
    with Load(running.http_port, choose, connections=connections, at_least=0) as load:
        time.sleep(seconds)
    return load.report, running.counts() - before


def row(name: str, connections: int, report: Report, counts: Counter[str]) -> None:
    times = (report.percentile(50) * 1e3, report.percentile(99) * 1e3)
    loads = counts["loads"] if counts else report.answers
    print(
        f"{name:<24}{connections:>12,}{report.rate:>10,.0f}{times[0]:>10.2f}{times[1]:>10.2f}"
        f"{counts['memory']:>10,}{counts['redis']:>8,}{loads:>10,}{report.failures.total():>8,}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="The example cluster under load, with its cache and without.")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="default: one a core (%(default)s)")
    parser.add_argument("--port", type=int, default=18_080, help="the first of those that are used (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (%(default)s)")
    arguments = parser.parse_args()

    print(f"{arguments.workers} workers; {os.cpu_count()} cores, which the load shares; {USERS} users\n")
    print(f"{'':<24}{'':>12}{'answers':>10}{'median':>10}{'99 %':>10}{'from':>10}{'from':>8}{'from the':>10}")
    print(
        f"{'':<24}{'connections':>12}{'a second':>10}{'ms':>10}{'ms':>10}"
        f"{'memory':>10}{'Redis':>8}{'database':>10}{'failed':>8}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, cache, choose in RUNS:
            with service(folder, arguments, cache) as running:
                running.warm()
                for connections in CONNECTIONS:
                    row(name, connections, *measure(running, connections, choose, arguments.seconds))


if __name__ == "__main__":
    main()
