"""Runs the chosen workloads, one after the other, and keeps what is finished when the user has seen enough."""

import gc
from collections.abc import Callable
from functools import cache

from khronos_fast.bench.progress import Progress
from khronos_fast.bench.redis_server import Server, ServerError
from khronos_fast.bench.report import Measured, Report
from khronos_fast.bench.request_log import LogError, RequestLog
from khronos_fast.bench.rounds import Outcome
from khronos_fast.bench.selection import Chosen
from khronos_fast.bench.settings import Settings
from khronos_fast.bench.workload import Context, no_server


def run(
    chosen: Chosen,
    settings: Settings,
    report: Report,
    load_log: Callable[[], RequestLog],
    progress: Progress,
    find_server: Callable[[], Server] = no_server,
) -> None:
    """Fill the report. Ctrl-C ends the run and marks the report; what was finished stays in it."""

    @cache
    def log() -> RequestLog:
        report.log = load_log()
        return report.log

    def server() -> Server:
        found = find_server()
        report.server = found.describe()
        return found

    # What is alive now stays: collections between samples then only look at what the bench itself makes.
    gc.collect()
    gc.freeze()
    try:
        for number, (group, workload) in enumerate(chosen):
            full_name = f"{group.name}/{workload.name}"

            def tick(part: float, contender: str, number: int = number, full_name: str = full_name) -> None:
                progress.update(number + part, full_name, contender)

            context = Context(settings, tuple(report.present), log, tick, server)
            tick(0.0, "")
            try:
                outcome = workload.run(context)
            except (LogError, ServerError) as error:
                outcome = Outcome(notes=[f"not measured: {error}"])
            report.measured.append(Measured(group.name, workload, outcome))
        progress.update(len(chosen), "", "")
    except KeyboardInterrupt:
        report.interrupted = True
    finally:
        gc.unfreeze()
