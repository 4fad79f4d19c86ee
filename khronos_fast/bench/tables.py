"""Tables: by rich where it is installed, in aligned plain text where not."""

import importlib.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TextIO

PLAIN_VARIABLE = "KHRONOS_BENCH_PLAIN"
WIDE = 200
"""Columns for output that no terminal shows: a file has no edge to wrap at."""


@dataclass(slots=True)
class Table:
    """Text in columns: the first is left-aligned, the others right, unless they hold no numbers."""

    title: str
    columns: Sequence[str]
    """A heading may have several lines: narrow columns fit a narrow terminal."""
    rows: list[Sequence[str]] = field(default_factory=list)
    ours: set[int] = field(default_factory=set)
    """The rows to point out."""
    notes: list[str] = field(default_factory=list)
    numbers: bool = True
    """False where every column is text and left-aligned."""


def rich_is_wanted() -> bool:
    """True where rich can be imported and the environment does not ask for plain text."""
    return not os.environ.get(PLAIN_VARIABLE) and importlib.util.find_spec("rich") is not None


def print_table(table: Table, stream: TextIO) -> None:
    """Print it in the best way there is."""
    if rich_is_wanted():
        _print_rich(table, stream)
    else:
        stream.write(plain_table(table) + "\n")


def plain_table(table: Table) -> str:
    """Aligned text; our own rows are marked by a star."""
    heads = [column.split("\n") for column in table.columns]
    depth = max(map(len, heads))
    header = [[([""] * (depth - len(head)) + head)[line] for head in heads] for line in range(depth)]
    marks = ["  "] * depth + ["* " if number in table.ours else "  " for number in range(len(table.rows))]
    rows = [[mark + row[0], *row[1:]] for mark, row in zip(marks, [*header, *table.rows], strict=True)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.columns))]
    lines = [_aligned(row, widths, numbers=table.numbers) for row in rows]
    lines.insert(depth, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join([table.title, *lines, *(f"  {note}" for note in table.notes), ""])


def _aligned(row: Sequence[str], widths: Iterable[int], *, numbers: bool) -> str:
    cells = [
        text.rjust(width) if numbers and place else text.ljust(width)
        for place, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _print_rich(table: Table, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(file=stream, width=None if stream.isatty() else WIDE, highlight=False)
    drawn = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place, column in enumerate(table.columns):
        justify: Literal["left", "right"] = "right" if table.numbers and place else "left"
        drawn.add_column(escape(column), justify=justify, vertical="bottom", no_wrap=not place)
    for number, row in enumerate(table.rows):
        drawn.add_row(*map(escape, row), style="bold green" if number in table.ours else None)
    console.print(escape(table.title), style="bold", soft_wrap=True)
    console.print(drawn)
    for note in table.notes:
        console.print(f"  {escape(note)}", style="dim", soft_wrap=True)
    console.print()
