"""What a look-up costs while a collector looks on, in instructions: `python benchmarks/sampling_instructions.py`.

`MemoryCache.get` of a key that is there, of one that is not, and a call that `cached` remembers: so many of them, and
many more, each under valgrind's callgrind, in a process of its own. What is printed is by how many more instructions
the main thread ran in this package's compiled modules, for each call more: without a collector, and with one whose
sampler looks at the cache every few milliseconds meanwhile. Times would be those of a machine that does other work as
well; a number of instructions is the same each time. The sampler's own are in a thread of its own, and not counted.
"""

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path

import callgrind

import khronos_fast

OURS = str(Path(khronos_fast.__file__).parent)
WORKLOADS = ("hit", "miss", "remembered")
FEW, MANY = 20_000, 120_000
KEYS = 1_000
INTERVAL = 0.01  # seconds; under valgrind a sample takes milliseconds


def work(workload: str, calls: int, is_watched: bool) -> int:
    """Be the process that is counted; how many samples were taken meanwhile."""
    from khronos_fast import HealthCollector, MemoryCache, cached

    cache = MemoryCache[str, int](KEYS, ttl=600)
    for number in range(KEYS):
        cache[f"key:{number}"] = number
    remembered = cached(maxsize=KEYS, ttl=600)(len)
    for name in names(workload):
        remembered(name)
    health = HealthCollector(interval=INTERVAL)
    health.register("cache", cache)
    health.register("function", remembered)
    function = remembered if workload == "remembered" else cache.get
    if is_watched:
        health.start()
    before = health.take_sample().seq
    # Both processes have the same number of strings, and those that are asked for are not the ones that are stored.
    asked = names(workload)
    for _ in range(calls // KEYS):
        for name in asked:
            function(name)
    samples = health.take_sample().seq - before
    health.stop()
    hits = {"hit": (calls, 0), "miss": (0, calls), "remembered": (0, 0)}[workload]
    assert cache.stats()[:2] == hits
    assert remembered.cache_info().hits == (calls if workload == "remembered" else 0)
    return samples


def names(workload: str) -> list[str]:
    """What is asked for; new strings each time."""
    return [f"{'other' if workload == 'miss' else 'key'}:{number}" for number in range(KEYS)]


def count(workload: str, calls: int, is_watched: bool, folder: str) -> tuple[Counter[str], int]:
    """Run the work under callgrind: instructions of the main thread by module, and the samples taken."""
    path = Path(folder) / f"{workload}-{calls}-{is_watched}"
    printed = callgrind.run(
        ["--separate-threads=yes", "--fair-sched=yes", f"--callgrind-out-file={path}"],
        [__file__, "--work", workload, str(calls), *["--watched"] * is_watched],
        {**os.environ, "PYTHONHASHSEED": "0"},
    )
    found: Counter[str] = Counter()
    for cost in callgrind.costs(path.with_name(f"{path.name}-01")):
        if cost.called is None:
            found[cost.module] += cost.instructions
    return found, int(printed)


def per_call(workload: str, is_watched: bool, folder: str) -> tuple[float, float, int]:
    """Instructions a call in our modules, those elsewhere (the interpreter's, mostly), and the samples."""
    few, _ = count(workload, FEW, is_watched, folder)
    many, samples = count(workload, MANY, is_watched, folder)
    more = {name: (many[name] - few[name]) / (MANY - FEW) for name in many}
    ours = sum(each for name, each in more.items() if name.startswith(OURS))
    return ours, sum(more.values()) - ours, samples


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(
        description="What a look-up costs while a collector looks on, in instructions.",
        epilog="Needs valgrind. See the file's docstring.",
    )
    parser.add_argument("--work", nargs=2, metavar=("WORKLOAD", "CALLS"), help=argparse.SUPPRESS)
    parser.add_argument("--watched", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(work(arguments.work[0], int(arguments.work[1]), arguments.watched))
        return
    print("instructions a call, in khronos_fast's modules (and elsewhere)")
    print(f"  {'':<14}{'nobody looks on':>24}{'a collector samples':>24}{'samples':>10}{'more':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            alone, alone_elsewhere, _ = per_call(workload, False, folder)
            watched, watched_elsewhere, samples = per_call(workload, True, folder)
            texts = [f"{alone:.1f} ({alone_elsewhere:.0f})", f"{watched:.1f} ({watched_elsewhere:.0f})"]
            line = f"  {workload:<14}{texts[0]:>24}{texts[1]:>24}{samples:>10,}{watched - alone:>8.1f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
