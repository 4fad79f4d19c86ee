"""What the pages tell people to run, open and follow is there: targets, options, files, links and their anchors."""

import os
import re
import shlex
from pathlib import Path

import pytest

from khronos_fast.bench import groups
from khronos_fast.bench.cli import _parser
from khronos_fast.bench.selection import select
from khronos_fast.bench.settings import FULL, QUICK

from .pages import HEADING, PAGES, ROOT, blocks_of, code_of, name_of, prose_of

TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
# Words in code that begin like this are files of the repository; what is built is not.
PLACES = ("benchmarks/", "docs/", "examples/", "khronos_fast/", "tests/", "tools/", ".ci/", ".github/")
# What is not there where an installed package is tested: `make wheel` sees to that.
UNPACKED_WITHOUT = ("khronos_fast", ".ci", ".github")
by_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def words_of(code):
    """A command as a shell would see it; text that is none, such as `it's`, as it is."""
    try:
        return shlex.split(code, comments=True)
    except ValueError:
        return code.split()


def commands_of(page):
    return [words for code in code_of(page) if (words := words_of(code))]


def arguments_of_bench(words):
    """What the bench would be given by this command; None: it is another command."""
    if "khronos_fast.bench" in words and words[:1] != ["pip"]:
        return words[words.index("khronos_fast.bench") + 1 :]
    if words[:2] == ["make", "bench"]:
        return shlex.split(next((word[5:] for word in words if word.startswith("ARGS=")), ""))
    return None


def is_there(path):
    """Whether this path of the repository, which may be a pattern, exists."""
    if path.startswith(UNPACKED_WITHOUT) and not (ROOT / "khronos_fast").exists():
        return True
    return any(ROOT.glob(path))


def anchors_of(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = HEADING.findall(prose_of(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@by_page
def test_targets_exist(page):
    for words in commands_of(page):
        if words[0] == "make":
            targets = [word for word in words[1:] if "=" not in word and re.fullmatch("[a-z-]+", word)]
            assert set(targets) <= TARGETS, f"{name_of(page)}: {' '.join(words)}"


@by_page
def test_the_bench_takes_what_it_is_given(page):
    for words in commands_of(page):
        arguments = arguments_of_bench(words)
        if arguments is None or re.search("[…<]", " ".join(arguments)):  # none, or one to be filled in
            continue
        parsed = _parser().parse_args(arguments)
        assert select(groups.ALL, QUICK if parsed.quick else FULL, parsed.only), words


@by_page
def test_files_exist(page):
    for words in commands_of(page):
        for word in words:
            path = word.rstrip(".,:;").partition("::")[0]
            if path.startswith(PLACES) and re.fullmatch(r"[\w./*-]+", path):
                assert is_there(path), f"{name_of(page)}: there is no {path}"


@by_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        found = Path(os.path.normpath(page.parent / path)) if path else page
        assert is_there(found.relative_to(ROOT).as_posix()), f"{name_of(page)}: {target}"
        if anchor:
            assert anchor in anchors_of(found), f"{name_of(page)}: {target}"


def test_commands_are_seen():
    assert {"test", "bench", "docs", "lint"} <= TARGETS
    assert ["make", "bench", "ARGS=--quick --only memory"] in commands_of(ROOT / "README.md")
    assert arguments_of_bench(["make", "bench", "ARGS=--quick --only memory"]) == ["--quick", "--only", "memory"]
    assert arguments_of_bench(["python", "-m", "khronos_fast.bench", "--list"]) == ["--list"]
    assert arguments_of_bench(["make", "test"]) is None
    assert is_there("docs/*.md")
    assert not is_there("docs/no-such-page.md")
    assert "performance" in anchors_of(ROOT / "docs" / "performance.md")
    assert any(block.language == "console" for block in blocks_of(ROOT / "docs" / "tutorial.md"))
