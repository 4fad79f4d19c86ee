"""Makes two runs comparable: `str` hashes, and with them every collision, are the same in each."""

import os
import subprocess
import sys
from typing import NoReturn

VARIABLE = "PYTHONHASHSEED"


def seed_text() -> str:
    """What this process hashes with, for the report."""
    if not sys.flags.hash_randomization:
        return "0"
    given = os.environ.get(VARIABLE, "random")
    return "random" if sys.flags.ignore_environment else given


def needs_restart() -> bool:
    """True where the seed is random; a seed that the user chose is theirs to keep.

    `-E` and `-I` make the interpreter deaf to the variable: a restart would repeat for ever, so the run goes on with a
    random seed, which the report names.
    """
    return seed_text() == "random" and not sys.flags.ignore_environment


def restart_with_fixed_seed() -> None:
    """Run the same command line again with the seed 0, unless a seed is set already."""
    if needs_restart():
        _run_again({**os.environ, VARIABLE: "0"})


def _run_again(environment: dict[str, str]) -> NoReturn:
    command = [sys.executable, *sys.orig_argv[1:]]
    if os.name == "posix":
        os.execve(sys.executable, command, environment)
    # Windows has no exec that keeps the console's process waiting, so this process stays as a thin parent. Ctrl-C
    # reaches both; the child answers it, and the parent must only outlive it.
    child = subprocess.Popen(command, env=environment)
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:
            continue
