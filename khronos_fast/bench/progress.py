"""Where the run is: rich's bar on a terminal, else a line as each workload begins."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol, TextIO

from khronos_fast.bench.tables import rich_is_wanted

REDRAW_SECONDS = 0.1


class Progress(Protocol):
    """What the run tells about itself."""

    def update(self, done: float, workload: str, contender: str, /) -> None:
        """`done` workloads are through, a part of one included."""
        ...


@contextmanager
def progress(total: int, stream: TextIO | None = None) -> Generator[Progress]:
    """A progress display for so many workloads."""
    output: TextIO = stream or sys.stderr
    if rich_is_wanted() and output.isatty():
        with _rich_bar(total, output) as bar:
            yield bar
    else:
        yield PlainLines(total, output)


class PlainLines:
    """One line a workload: what a log file can keep."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total = total
        self._stream = stream
        self._begun = -1

    def update(self, done: float, workload: str, _contender: str, /) -> None:
        """Say so when a workload begins."""
        if self._begun < int(done) < self._total:
            self._begun = int(done)
            self._stream.write(f"[{self._begun + 1}/{self._total}] {workload}\n")
            self._stream.flush()


@contextmanager
def _rich_bar(total: int, stream: TextIO) -> Generator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichBar

    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    # It is redrawn where the bench calls it, between samples: a thread that redraws would run inside them.
    with RichBar(*columns, console=Console(file=stream), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total)

        class Bar:
            drawn = 0.0

            def update(self, done: float, workload: str, contender: str, /) -> None:
                bar.update(task, completed=done, description=f"{workload}  {contender}")
                if time.monotonic() - self.drawn >= REDRAW_SECONDS:
                    self.drawn = time.monotonic()
                    bar.refresh()

        yield Bar()
