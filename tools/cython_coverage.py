"""Says which lines of Cython ran: `make coverage` calls it after the tests.

    python tools/cython_coverage.py --fail-under 95

The package is built with `KHRONOS_COVERAGE=1`. Cython then puts a mark into the C before each line of a `.pyx` or a
`.pxd` that does something, and gcov counts how often each line of the C ran. A line of Cython ran if the first C after
one of its marks did. Some lines have several marks, those of a `finally` and what is inline in a `.pxd`: one is enough.

A line whose marks have no C to run is not counted: `try:`, and what this build leaves out, such as locks that only
free-threaded interpreters need. Nor is C that stands in a `.pxd` as it is, which has no marks.
"""

import argparse
import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

OBJECTS = Path("build/coverage")
WRITTEN_BY_CYTHON = "build/cython-coverage/"
SOURCES = re.compile(r"^static const char\* const __pyx_f\[\] = \{\n(?P<names>.*?)^\};", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"^ *__Pyx_TraceLine\((?P<line>\d+),.*__PYX_ERR\((?P<source>\d+),")
# What follows clears up, and belongs to no line.
END_OF_FUNCTION = "  /* function exit code */"
# The last function: the module's own lines, and a mark without any C for each function that is not Python's.
MODULE = "static CYTHON_SMALL_CODE int __pyx_pymod_exec_"


def runs_of_c(objects: Path) -> Iterator[tuple[Path, dict[int, int]]]:
    """Each C file that Cython wrote, and how often each of its lines ran, of those that are code."""
    for notes in sorted(objects.rglob("*.gcno")):
        command = ["gcov", "--json-format", "--stdout", str(notes)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for source in found["files"]:
            if source["file"].startswith(WRITTEN_BY_CYTHON):
                runs: dict[int, int] = defaultdict(int)
                for line in source["lines"]:
                    runs[line["line_number"]] += line["count"]
                yield Path(source["file"]), runs


def marks(c_file: Path, runs: dict[int, int]) -> Iterator[tuple[str, int, int | None]]:
    """The marks of a C file: source, line, and how often the C behind it ran, `None` if there is none."""
    text = c_file.read_text(encoding="utf-8")
    sources = re.findall(r'"(.+)"', SOURCES.search(text)["names"])
    pending = None
    in_function = True
    for number, c_line in enumerate(text.splitlines(), 1):
        mark = MARK.match(c_line)
        if pending and (mark or c_line == END_OF_FUNCTION):
            if in_function:
                yield *pending, None
            pending = None
        if mark:
            pending = sources[int(mark["source"])], int(mark["line"])
        elif pending and number in runs:
            yield *pending, runs[number]
            pending = None
        elif c_line.startswith(MODULE):
            in_function = False


def lines_of_cython(objects: Path) -> dict[str, dict[int, int | None]]:
    """How often each marked line of each source ran, at all its marks."""
    lines: dict[str, dict[int, int | None]] = defaultdict(dict)
    for c_file, runs in runs_of_c(objects):
        for source, line, count in marks(c_file, runs):
            if not source.startswith("khronos_fast/"):  # Cython's own
                continue
            before = lines[source].get(line)
            lines[source][line] = before if count is None else count + (before or 0)
    return lines


def ranges(numbers: list[int]) -> str:
    """`[3, 4, 5, 9]` as `3-5, 9`."""
    runs = [[n for _, n in run] for _, run in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description="Say which lines of Cython ran.")
    parser.add_argument("--fail-under", type=float, default=0.0, metavar="PERCENT", help="the least that is enough")
    wanted = parser.parse_args().fail_under
    print(f"{'Cython':<44}{'no C':>7}{'lines':>7}{'not run':>9}{'ran':>9}   not run")
    counted = missed = 0
    for source, lines in sorted(lines_of_cython(OBJECTS).items()):
        code = [line for line, count in lines.items() if count is not None]
        not_run = sorted(line for line in code if lines[line] == 0)
        counted += len(code)
        missed += len(not_run)
        share = 100 * (1 - len(not_run) / len(code)) if code else 100.0
        no_c = len(lines) - len(code)
        print(f"{source:<44}{no_c:>7}{len(code):>7}{len(not_run):>9}{share:>8.2f}%   {ranges(not_run)}".rstrip())
    if not counted:
        raise SystemExit(f"{OBJECTS}: nothing that gcov counted; build with KHRONOS_COVERAGE=1, then run the tests")
    share = 100 * (1 - missed / counted)
    print(f"{'all Cython':<51}{counted:>7}{missed:>9}{share:>8.2f}%")
    if share < wanted:
        raise SystemExit(f"{share:.2f} % of the Cython lines ran; {wanted:g} % is the least that is enough")


if __name__ == "__main__":
    main()
