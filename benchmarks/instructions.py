"""Whether the hottest paths take more instructions than those of the parent commit: `make instructions`.

`hot_paths.py` has the paths. They are counted under valgrind's callgrind, on this checkout as it is built, and on the
commit that it is compared with, which is built for that, by the same compiler and `setup.py`'s own flags, under
build/instructions, and kept there. For each path two figures are printed for an operation:

- `inside`: from the call of this package's compiled code until it returns, with all that it called meanwhile;
- `in all`: the loop's, and the interpreter's, too. A method that the interpreter knows no quick way to call shows here.

Where one of them has grown by more than 3 %, the program ends with exit status 1, unless a commit since the one that is
compared with says why in its message, in a trailer (the last paragraph):

    Instructions: get: hits look at the deadline of their group as well

It compares with HEAD~1, so a reason holds for the one commit. `--base REV` compares with where the history of REV
parted from HEAD's: `--base origin/main` for a branch, `--base HEAD` for what is not committed yet.
"""

import argparse
import io
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import callgrind

ROOT = Path(__file__).resolve().parents[1]
BUILDS = Path("build", "instructions")
WORK = Path(__file__).with_name("hot_paths.py")
CLOCK = Path(__file__).with_name("still_clock.c")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
OPERATIONS = 10_000
ALLOWED = 0.03
TRAILER = "Instructions"
GREW, IMPOSSIBLE = 1, 2


class Count(NamedTuple):
    """Instructions of one path, an operation."""

    inside: float
    in_all: float


class Impossible(Exception):  # noqa: N818
    """There is nothing to compare with; the message says what to do."""


def git(*arguments: str, root: Path = ROOT) -> bytes:
    """What git prints."""
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise Impossible(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def base_of(revision: str, root: Path = ROOT) -> str:
    """The commit to compare with: where the history of `revision` parted from HEAD's."""
    try:
        return git("merge-base", revision, "HEAD", root=root).decode().strip()
    except Impossible as error:
        raise Impossible(
            f"there is no {revision} to compare with here: this is the first commit, or a clone without its history "
            f"(git fetch --unshallow gets it), or no clone at all. --base names another commit. ({error})"
        ) from None


def reasons(base: str, root: Path = ROOT) -> dict[str, str]:
    """Why paths may have grown since, by the trailers of the commits: path to reason."""
    values = git("log", f"--format=%(trailers:key={TRAILER},valueonly,unfold)", f"{base}..HEAD", root=root).decode()
    found = (value.partition(":") for value in reversed(values.splitlines()))
    return {path.strip(): reason.strip() for path, _, reason in found if reason.strip()}


def built(commit: str) -> Path:
    """The folder in which this commit's package lies, built; it is built if it is not there yet."""
    folder = ROOT / BUILDS / f"{commit}{SUFFIX.removesuffix('.so')}"
    if folder.exists():
        return folder
    print(f"building {commit[:12]}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
            archive.extractall(scratch, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", f"--parallel={os.cpu_count()}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KHRONOS_")}
        done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Impossible(f"{done.stdout}{done.stderr}\n{commit} does not build")
        shutil.rmtree(Path(scratch, "build"))
        shutil.copytree(scratch, folder)
    return folder


def count(root: Path) -> dict[str, Count]:
    """The instructions of all paths, in the main thread, of the package in this folder."""
    package = str(root / "khronos_fast") + os.sep
    with tempfile.TemporaryDirectory() as folder:
        output, clock = Path(folder, "out"), Path(folder, "still_clock.so")
        compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC"))
        subprocess.run([*compiler, "-O2", "-shared", "-fPIC", "-o", str(clock), str(CLOCK)], check=True)
        # Nothing of the caller's environment, whose size alone moves the stack.
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(root),
            "PYTHONHASHSEED": "0",
            "LD_PRELOAD": str(clock),
        }
        options = ["--dump-before=getppid", "--separate-threads=yes", f"--callgrind-out-file={output}"]
        paths = callgrind.run(options, [str(WORK), package], environment).split()
        # The first part ends where the first loop begins; from then on loops and what is between them take turns.
        return {path: read(Path(f"{output}.{2 * number}-01"), package) for number, path in enumerate(paths, start=1)}


def read(part: Path, package: str) -> Count:
    """The figures of one loop, by callgrind's output."""
    inside = in_all = 0
    for cost in callgrind.costs(part):
        if cost.called is None:
            in_all += cost.instructions
        elif cost.called.startswith(package) and not cost.module.startswith(package):
            inside += cost.instructions
    return Count(inside / OPERATIONS, in_all / OPERATIONS)


def growth(before: Count, after: Count) -> float:
    """By what part of what it was the figure has grown that has grown more."""
    return max(new / old - 1 for old, new in zip(before, after, strict=True))


def verdict(before: Mapping[str, Count], after: Mapping[str, Count], why: Mapping[str, str]) -> tuple[list[str], bool]:
    """The lines of the table, and whether all is well: nothing has grown, or it is said why."""
    lines = [f"  {'':<16}{'inside':>10}{'before':>10}{'in all':>12}{'before':>10}"]
    well = True
    for path, now in after.items():
        was = before[path]
        grown = growth(was, now)
        line = f"  {path:<16}{now.inside:>10.1f}{was.inside:>10.1f}{now.in_all:>12.1f}{was.in_all:>10.1f}{grown:>+9.1%}"
        if grown > ALLOWED:
            well = well and path in why
            line += f"  {why.get(path, 'TOO MANY')}"
        lines.append(line)
    return lines, well


def main() -> int:
    """Build, count, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="HEAD~1", metavar="REV", help="what to compare with (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="count so often, and print the spread")
    arguments = parser.parse_args()
    try:
        base = base_of(arguments.base)
        before, why = count(built(base)), reasons(base)
    except Impossible as error:
        print(f"error: {error}", file=sys.stderr)
        return IMPOSSIBLE
    runs = [count(ROOT) for _ in range(arguments.repeat)]
    lines, well = verdict(before, runs[-1], why)
    print(f"instructions an operation, before: {base[:12]}", *lines, sep="\n")
    if arguments.repeat > 1:
        spread = max(growth(one[path], other[path]) for one in runs for other in runs for path in one)
        print(f"the most that a figure differs between {arguments.repeat} runs: {spread:.2%}")
    if well:
        return 0
    print(
        f"A path takes over {ALLOWED:.0%} more than before. If it has to, the commit says why, in a trailer:\n"
        f"\n    {TRAILER}: <path>: <why>",
        file=sys.stderr,
    )
    return GREW


if __name__ == "__main__":
    sys.exit(main())
