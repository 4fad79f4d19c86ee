"""What `import khronos_fast` adds to the start of an interpreter: `.venv/bin/python benchmarks/import_time.py`.

Interpreters that import it and ones that do not take turns. Both are started without `site`, whose own imports differ
from one environment to another, and import `os`, which it always does. Prints medians of whole processes, and of the
differences inside a round: the time on the clock, which is what is promised, and the processor's, which other programs
on the machine disturb less.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import khronos_fast

PROMISED = 30
FOLDER = str(Path(khronos_fast.__file__).resolve().parents[1])
PROGRAMS = ("import os", f"import os, sys; sys.path.insert(0, {FOLDER!r}); import khronos_fast")


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def milliseconds(program: str) -> tuple[float, float]:
    """Return what an interpreter with this program takes on the clock, and of the processor."""
    used, start = processor(), time.perf_counter()
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)
    return (time.perf_counter() - start) * 1e3, (processor() - used) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=40, help="how many interpreters of each kind (default: 40)")
    arguments = parser.parse_args()
    for program in PROGRAMS:  # so that the files are compiled, and in memory
        milliseconds(program)
    rounds = [[milliseconds(program) for program in PROGRAMS] for _ in range(arguments.rounds)]
    print(f"{'ms':<24}{'without':>10}{'with':>10}{'added':>10}{'at best':>10}")
    for column, what in enumerate(("on the clock", "of the processor")):
        without, imported = ([one[column] for one in kind] for kind in zip(*rounds, strict=True))
        added = statistics.median(after - before for before, after in zip(without, imported, strict=True))
        figures = (statistics.median(without), statistics.median(imported), added, min(imported) - min(without))
        print(f"{what:<24}" + "".join(f"{figure:>10.1f}" for figure in figures))
    print(f"promised: at most {PROMISED} ms are added, on a machine that does nothing else")


if __name__ == "__main__":
    main()
