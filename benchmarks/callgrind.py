"""Programs under valgrind's callgrind, and what it writes of them, for the scripts beside this that count instructions.

A number of instructions is the same each time, where a time is that of a machine that does other work as well.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

REFERENCE = re.compile(r"\((\d+)\)(?: (.*))?")
ABSENT = "valgrind is not on this machine. Install the package valgrind (Debian, Ubuntu: apt install valgrind)"


class Cost(NamedTuple):
    """A line of callgrind's output."""

    instructions: int
    module: str
    """The file, a program or a library, whose code it was."""
    called: str | None
    """The module of what was called, where these are the callee's instructions, with all that it called in turn."""


def run(options: Sequence[str], arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a program of this Python's under callgrind; what it printed."""
    if shutil.which("valgrind") is None:
        raise SystemExit(ABSENT)
    command = ["valgrind", "--tool=callgrind", *options, sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stderr}\nended with exit status {done.returncode}: {' '.join(command)}")
    return done.stdout


def costs(path: Path) -> Iterator[Cost]:
    """Read one of callgrind's files: a thread's, or a part of the run."""
    modules: dict[str, str] = {}
    current, called, is_call = "", None, False
    with path.open() as lines:
        for line in lines:
            if line.startswith(("ob=", "cob=")):
                number, name = REFERENCE.match(line.partition("=")[2].rstrip("\n")).groups()  # type: ignore[union-attr]
                if name is not None:
                    modules[number] = name
                if line.startswith("ob="):
                    current = modules[number]
                else:
                    called = modules[number]
            elif line.startswith("calls="):
                is_call = True  # the next line is what was spent in there
            elif line[:1].isdigit() or line[:1] in "+-*":
                instructions = int(line.split()[1])
                yield Cost(instructions, current, (called or current) if is_call else None)
                if is_call:
                    called, is_call = None, False
