"""Draws a report as one SVG picture, by hand: a plotting library would be a dependency for a few rectangles."""

from collections.abc import Iterator
from html import escape

from khronos_fast.bench.machine import describe_machine, gil_text
from khronos_fast.bench.plot.bars import bar_chart
from khronos_fast.bench.plot.curve import curve_chart
from khronos_fast.bench.plot.drawing import GAP, MARGIN, WIDTH, Block, picture, text
from khronos_fast.bench.report import Measured, Report

_TITLE = "khronos_fast bench"


def plot(report: Report, *, html: bool) -> str:
    """The picture's text: an SVG document, or an HTML page around it."""
    blocks = [_heading(), *_charts(report.measured)]
    height = MARGIN + sum(block.height + GAP for block in blocks)
    svg = picture(_TITLE, height, blocks)
    if not html:
        return svg
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(_TITLE)}</title>\n</head>\n"
        f'<body style="margin:0 auto;max-width:{WIDTH}px">\n{svg}</body>\n</html>\n'
    )


def _heading() -> Block:
    machine = describe_machine()
    where = f"Python {machine['python']} ({gil_text()}), {machine['processor']}, {machine['cores_usable']} cores"
    hint = "Bars show medians, whiskers min and max. A cut bar runs off the scale; its number tells how far."
    lines = [text(MARGIN, 22, _TITLE, "head"), text(MARGIN, 42, where, "note"), text(MARGIN, 58, hint, "note")]
    return Block(60, lines)


def _charts(measured: list[Measured]) -> Iterator[Block]:
    """A chart per workload; workloads that make a curve together share one, drawn where the first of them is."""
    curves: dict[str, list[Measured]] = {}
    for one in measured:
        if one.workload.curve is not None:
            curves.setdefault(f"{one.group}: {one.workload.curve[0]}", []).append(one)
    for one in measured:
        if not one.outcome.samples:
            continue
        points = curves.get(f"{one.group}: {one.workload.curve[0]}", []) if one.workload.curve is not None else []
        if len(points) < 2:
            yield bar_chart(one)
        elif points[0] is one:
            yield curve_chart(points)
