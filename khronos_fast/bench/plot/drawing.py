"""The few shapes that the charts are made of, and the colours that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

WIDTH = 900
MARGIN = 16
GAP = 26
"""Between charts."""
LEFT = 230
"""Where bars and axes begin; the names are to the left of it."""
RIGHT = WIDTH - 90
"""Where bars end at most; their numbers are to the right of it."""
TITLE_CHARACTERS = 125

# Ours is green, the rest grey: a reader looks for one row among many. Both schemes keep a contrast of 4.5 for text.
_STYLE = """
svg { background: #ffffff; font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; }
text { fill: #1f2328; } .head { font-size: 18px; font-weight: 600; } .title { font-size: 13px; font-weight: 600; }
.note { fill: #59636e; font-size: 11px; } .right { text-anchor: end; } .middle { text-anchor: middle; }
.name-ours { font-weight: 600; }
.bar { fill: #9aa4af; } .bar-ours { fill: #1a7f4e; } .whisker { stroke: #1f2328; fill: none; opacity: .6; }
.cut { stroke: #ffffff; stroke-width: 2.5; } .grid { stroke: #d8dee4; } .axis { stroke: #59636e; }
.line { fill: none; stroke-width: 2; } .line-0 { stroke: #1a7f4e; } .line-1 { stroke: #2563c9; }
.line-2 { stroke: #6e7781; } .line-3 { stroke: #b35900; } .line-4 { stroke: #8a3ab9; }
.dot-0 { fill: #1a7f4e; } .dot-1 { fill: #2563c9; } .dot-2 { fill: #6e7781; } .dot-3 { fill: #b35900; }
.dot-4 { fill: #8a3ab9; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #e6edf3; } .note { fill: #9198a1; }
.bar { fill: #5b6570; } .bar-ours { fill: #3fb950; } .whisker { stroke: #e6edf3; } .cut { stroke: #0d1117; }
.grid { stroke: #2b3138; } .axis { stroke: #9198a1; } .line-0 { stroke: #3fb950; } .line-1 { stroke: #6cb0ff; }
.line-2 { stroke: #9198a1; } .line-3 { stroke: #f0a45d; } .line-4 { stroke: #c99af0; } .dot-0 { fill: #3fb950; }
.dot-1 { fill: #6cb0ff; } .dot-2 { fill: #9198a1; } .dot-3 { fill: #f0a45d; } .dot-4 { fill: #c99af0; }
}
"""
COLOURS = 5


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the picture with its own origin; the page stacks them."""

    height: float
    shapes: Sequence[str]


def text(x: float, y: float, content: str, style: str = "") -> str:
    """A line of text, its baseline at `y`."""
    chosen = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{chosen}>{escape(content)}</text>'


def rectangle(x: float, y: float, width: float, height: float, style: str) -> str:
    """A filled rectangle."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" rx="2" class="{style}"/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'


def polyline(points: Sequence[tuple[float, float]], style: str) -> str:
    """Straight lines from point to point."""
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" class="{style}"/>'


def dot(x: float, y: float, style: str) -> str:
    """A small disc."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="{style}"/>'


def title(name: str, sentence: str) -> tuple[list[str], float]:
    """A chart's two-part title and the height that it takes."""
    shapes = [text(MARGIN, 14, name, "title")]
    height = 14.0
    for part in wrap(sentence, TITLE_CHARACTERS):
        height += 15
        shapes.append(text(MARGIN, height, part, "note"))
    return shapes, height + 8


def picture(name: str, height: float, blocks: Sequence[Block]) -> str:
    """The document: the blocks one below the other."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
        f"<title>{escape(name)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    top = float(MARGIN)
    for block in blocks:
        parts += [f'<g transform="translate(0 {top:.1f})">', *block.shapes, "</g>"]
        top += block.height + GAP
    return "\n".join([*parts, "</svg>", ""])
