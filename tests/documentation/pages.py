"""The pages of the documentation, and what is in them: blocks of code, links, words in code."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(page for place in ("benchmarks", "docs", "examples") for page in (ROOT / place).rglob("*.md")),
    ]
)
# A fence of three backticks or more, with whatever it says of its language, up to one like it.
FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)(?P=ticks) *$", re.M | re.S
)

HEADING = re.compile(r"^#+ (.+)$", re.M)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    language: str
    text: str
    line: int


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page):
    text = page.read_text("utf-8")
    return [
        Block(match["language"].strip(), match["text"], text.count("\n", 0, match.start()) + 1)
        for match in FENCE.finditer(text)
    ]


def prose_of(page):
    """The page without its blocks; an empty line stands for each."""
    return FENCE.sub("", page.read_text("utf-8"))


def code_of(page):
    """All that is written as code: what stands in backticks, and the lines of consoles."""
    inline = re.findall(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", prose_of(page), re.DOTALL)
    lines = "\n".join(block.text for block in blocks_of(page) if block.language == "console").splitlines()
    return [" ".join(code.split()) for _, code in inline] + [line.removeprefix("$ ") for line in lines]
