"""Every block of Python on every page runs as it stands, in the order of the page, and prints what the page says.

Blocks with prompts are doctests. Those without are pasted, line by line, into an interactive interpreter, as a reader
does it; what stands in the `output` block below is what they print. Addresses of servers lead to real ones.
"""

import asyncio
import code
import contextlib
import doctest
import gc
import importlib.util
import inspect
import io
import re

import pytest

from .pages import PAGES, ROOT, blocks_of, name_of

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
# What a page may say of a block's language. Python is run; of the others, tests elsewhere and Sphinx see what they can.
LANGUAGES = {
    "python",
    "output",
    "console",
    "text",
    "json",
    "yaml",
    "",
    "{eval-rst}",
    "{toctree}",
    "{include} ../CHANGELOG.md",
}
# An address as the pages have it: what stands in for it, and what comes after that.
ADDRESSES = {
    "redis://localhost:6379/0": ("redis", "/0"),
    "redis://user:password@10.0.0.5:6379/0": ("redis", "/0"),
    "redis+cluster://localhost:7000,localhost:7001": ("cluster", ""),
    "redis+cluster://user:password@10.0.0.5:7000,10.0.0.6:7000": ("cluster", ""),
    "postgresql://ada:secret@localhost:5432/shop": ("postgres", ""),
}
# Where examples need what no other page does: web frameworks; other packages, in the versions that the page is about.
RUN_ELSEWHERE = {
    "docs/observability.md": "tests/health/test_observability_page.py",
    "docs/why-not.md": "tests/documentation/test_why_not.py",
}


def python_of(page):
    return [block for block in blocks_of(page) if block.language == "python"]


WITH_PYTHON = [page for page in PAGES if python_of(page) and name_of(page) not in RUN_ELSEWHERE]


def with_servers(text, address_of, known):
    """The text, with the addresses of servers that are there."""
    for address, (kind, path) in ADDRESSES.items():
        if re.search(re.escape(address) + r"(?![\w.:])", text):
            if kind not in known:
                known[kind] = address_of(kind)
            text = text.replace(address, known[kind] + path)
    return text


def pasted(text, names):
    """What an interactive interpreter prints when this is pasted into it, line by line."""
    console = code.InteractiveConsole(names)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        for line in [*text.splitlines(), ""]:
            console.push(line)
    return output.getvalue(), errors.getvalue()


def run_doctest(text, names, page, line):
    """Run the prompts in `text`; what went wrong, or nothing."""
    # Not the parser's own globs: what a block defines is there for the next one.
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, line)
    test.globs = names
    report = io.StringIO()
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(test, out=report.write, clear_globs=False)
    return report.getvalue()


def same(got, wanted):
    return doctest.OutputChecker().check_output(wanted, got, OPTIONS)


def close_all(names):
    """Close what a page has left open, as those who read it may go on with it."""

    async def end(closing):
        await closing

    for value in list(names.values()):
        if type(value).__module__.startswith(("khronos_fast.", "redis.")) and hasattr(value, "close"):
            closing = value.close()
            if inspect.isawaitable(closing):
                asyncio.run(end(closing))


@pytest.fixture
def patient(monkeypatch):
    """Answers of Redis may take longer than in the life of a reader, on a machine that does much else."""
    if importlib.util.find_spec("redis"):
        from khronos_fast import RedisTier

        monkeypatch.setitem(RedisTier.__init__.__kwdefaults__, "timeout", 10.0)


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_examples_run(page, address_of, patient, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    names, servers, ran = {"__name__": "__main__"}, {}, 0
    blocks = blocks_of(page)
    try:
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            if block.language != "python":
                continue
            ran += 1
            where = f"{name_of(page)}:{block.line}"
            text = with_servers(block.text, address_of, servers)
            if ">>>" in text:
                assert not (failures := run_doctest(text, names, name_of(page), block.line)), failures
            else:
                output, errors = pasted(text, names)
                wanted = following.text if following is not None and following.language == "output" else ""
                assert not errors, f"{where}\n{errors}"
                assert same(output, wanted), f"{where} prints\n{output}\nand the page says\n{wanted}"
    finally:
        close_all(names)
        names.clear()
        gc.collect()  # what this page has left open is this page's to answer for, not the next one's
    assert ran == len(python_of(page))


def test_the_pages_are_found():
    names = {name_of(page) for page in PAGES}
    assert {"README.md", "docs/index.md", "docs/tutorial.md", "docs/guide/memory.md"} <= names
    assert {"README.md", "docs/tutorial.md", "docs/deployment.md"} <= {name_of(page) for page in WITH_PYTHON}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_block_is_overlooked(page):
    """Each fence is one of a block that was found, each language one that is known, each prompt in what is run."""
    text = page.read_text("utf-8")
    blocks = blocks_of(page)
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)) == 2 * len(blocks)
    assert {block.language for block in blocks} <= LANGUAGES
    assert all(block.language == "python" for block in blocks if re.search(r"^\s*>>> ", block.text, re.MULTILINE))
    assert not re.search(r"^\s*>>> ", "".join(re.split(r"^```.*?^```", text, flags=re.M | re.S)), re.MULTILINE)
    for before, block in zip([None, *blocks], blocks, strict=False):
        if block.language == "output":
            assert before is not None
            assert before.language == "python"


@pytest.mark.parametrize(("page", "where"), RUN_ELSEWHERE.items())
def test_what_runs_elsewhere_does(page, where):
    assert page.rpartition("/")[2] in (ROOT / where).read_text("utf-8")


def test_what_is_pasted_is_compared():
    assert pasted("def f():\n    return 1\n\nprint(f())", {}) == ("1\n", "")
    assert pasted("1 + 1", {}) == ("2\n", "")
    output, errors = pasted("def f():\n    return 1\nprint(f())", {})  # no empty line after the block
    assert "SyntaxError" in errors
    assert not same(output, "1\n")
    assert "Expected" in run_doctest(">>> 1\n2\n", {}, "page", 1)
    names = {}
    assert not run_doctest(">>> a = 1\n", names, "page", 1)
    assert not run_doctest(">>> a\n1\n", names, "page", 1)
