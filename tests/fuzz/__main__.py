"""The fuzzers, each in a process of its own, for so many minutes: `make fuzz`."""

import argparse
import math
import os
import signal
import sys
import time
from pathlib import Path

from . import process
from .process import BUILD, ROOT, Fuzzer
from .targets import HERE, TARGETS

REPORT_SECONDS = 10.0
LOOK_SECONDS = 0.2


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Fuzz the cache's operations, the matcher and the codec, under the sanitizers, guided by which "
        "branches of the compiled code an input reaches. What is found is kept in build/fuzz/findings; inputs that "
        "reach something new in build/fuzz/corpus, where the next run goes on. Exit status: 1 if anything was found.",
    )
    parser.add_argument("--minutes", type=positive, default=1.0, help="how long each runs (default: %(default)g)")
    parser.add_argument("--only", action="append", choices=TARGETS, help="this one; may be given more than once")
    parser.add_argument(
        "--jobs", type=count, default=os.cpu_count() or 1, help="how many at a time (default: %(default)s, one a core)"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input of the fuzzer that --only names")
    parser.add_argument(
        "--merge", action="store_true", help="bring what was found worth keeping into tests/fuzz/corpus, and no more"
    )
    options = parser.parse_args(arguments)
    if options.replay is not None and len(options.only or []) != 1:
        parser.error("--replay wants --only with the name of the fuzzer that the input is for")
    if options.replay is not None and not options.replay.is_file():
        parser.error(f"there is no file {options.replay}")
    if not (BUILD / "lib").is_dir():
        parser.error(f"there is no {(BUILD / 'lib').relative_to(ROOT)}: `make fuzz` builds it")
    return options


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text}")
    return number


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    targets = [target for target in TARGETS if target in (options.only or TARGETS)]
    if options.replay is not None:
        return process.replay(targets[0], options.replay)
    if options.merge:
        return max(map(merge, targets))
    return fuzz(targets, math.ceil(options.minutes * 60), options.jobs)


def merge(target: str) -> int:
    """Replace the inputs that are kept by a smallest set that reaches as much as they and the last runs' together."""
    kept, fresh = HERE / "corpus" / target, BUILD / "merged" / target
    fresh.mkdir(parents=True, exist_ok=True)
    for file in fresh.iterdir():
        file.unlink()
    status = process.merge(target, fresh, [folder for folder in (kept, BUILD / "corpus" / target) if folder.is_dir()])
    if status == 0:
        kept.mkdir(parents=True, exist_ok=True)
        for file in kept.iterdir():
            file.unlink()
        for file in fresh.iterdir():
            (kept / file.name[:12]).write_bytes(file.read_bytes())
        size = sum(file.stat().st_size for file in kept.iterdir())
        print(f"{target}: {len(list(kept.iterdir()))} inputs, {size:,} bytes")
    return status


def fuzz(targets: list[str], seconds: int, jobs: int) -> int:
    """Run them; the command's exit status."""
    waiting, running, over = list(targets), [], []
    print(f"{', '.join(targets)}: {seconds} s each, {min(jobs, len(targets))} at a time; Ctrl-C ends them", flush=True)
    interrupted = False
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end this is to end them
    next_report = time.monotonic() + REPORT_SECONDS
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(start(waiting.pop(0), seconds))
            time.sleep(LOOK_SECONDS)
            if time.monotonic() >= next_report:
                next_report += REPORT_SECONDS
                for fuzzer in running:
                    say(fuzzer)
            for fuzzer in [each for each in running if each.process.poll() is not None]:
                running.remove(fuzzer)
                fuzzer.wait()
                over.append(fuzzer)
    except KeyboardInterrupt:
        print("\ninterrupted", flush=True)
        interrupted = True
    finally:
        for fuzzer in running:
            fuzzer.stop()
    return sum_up(over, running, interrupted)


def start(target: str, seconds: int) -> Fuzzer:
    seeds = [HERE / folder / target for folder in ("corpus", "findings")]
    return Fuzzer(target, seconds, [folder for folder in seeds if folder.is_dir()])


def say(fuzzer: Fuzzer) -> None:
    print(
        f"{fuzzer.target:8} {fuzzer.executions:10,} executions  {fuzzer.coverage:6,} branches  "
        f"{fuzzer.features:7,} features  {fuzzer.corpus:5,} inputs",
        flush=True,
    )


def sum_up(over: list[Fuzzer], stopped: list[Fuzzer], interrupted: bool) -> int:
    print()
    bad = 0
    for fuzzer in [*over, *stopped]:
        say(fuzzer)
        print(f"         (of {fuzzer.counters:,} in {fuzzer.modules} compiled modules, and of the codec's Python)")
        if fuzzer in stopped:
            continue
        status = fuzzer.process.returncode
        if status == 0 and fuzzer.counters and fuzzer.executions:
            continue
        bad += 1
        print("".join(fuzzer.last))
        if fuzzer.artifact is not None:
            path = fuzzer.artifact.relative_to(ROOT)
            print(f"FOUND by {fuzzer.target}: {path}; to see it again:")
            print(f'    make fuzz ARGS="--only {fuzzer.target} --replay {path}"')
        elif status != 0:
            print(f"{fuzzer.target} ended with status {status}; what it said last is above")
        else:
            print(f"{fuzzer.target} has watched no compiled code, or has run nothing: is build/fuzz/lib whole?")
    print(f"\n{bad} of {len(over)} fuzzers found something" if bad else "\nnothing found")
    return 130 if interrupted and not bad else min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
