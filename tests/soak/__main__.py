"""Cache, pools and tiers at work for minutes or hours, under faults, every answer checked: `python -m tests.soak`."""

import argparse
import json
import math
import os
import random
import sys
import time
from pathlib import Path

from . import report
from .soak import Soak


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description="Run memory cache, memoizers, pools, databases and tiers in threads, tasks and three processes, "
        "with a Redis behind proxies that cut, stall, garble and restart. Exit status: 1 if an answer was wrong, "
        "something failed, or a process grows.",
    )
    parser.add_argument("--minutes", type=positive, default=5.0, help="how long (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="of what is drawn (default: a new one, which is printed)")
    parser.add_argument("--report", type=positive, metavar="SECONDS", help="between two looks (default: a 40th of all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all looks there, and the verdict: JSON lines")
    return parser.parse_args(arguments)


def positive(text):
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return number


def main(arguments=None):
    options = parse(arguments)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    every = options.report or options.minutes * 60 / 40
    print(f"soak of {options.minutes:g} minutes, --seed {seed}; Ctrl-C ends it early, with a summary", flush=True)
    with open(options.json or os.devnull, "w", encoding="utf-8") as file:
        soak = Soak(seed)
        try:
            soak.start()
            end = soak.began + options.minutes * 60
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(every, left))
                look = soak.look()
                report.show(look)
                write(file, look)
        except KeyboardInterrupt:
            print("\ninterrupted", flush=True)
        result = soak.finish()
        write(file, result | {"seed": seed, "trends": as_json(result["trends"])})
    return 0 if report.sum_up(result) else 1


def write(file, what):
    file.write(json.dumps(what) + "\n")
    file.flush()


def as_json(trends):
    return {process: {name: trend._asdict() for name, trend in each.items()} for process, each in trends.items()}


if __name__ == "__main__":
    sys.exit(main())
