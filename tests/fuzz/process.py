"""A fuzzer in a process of its own: how it is started, and what it says on the way."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "fuzz"
UNDEFINED = Path(__file__).with_name("undefined.supp")
# An input that takes longer is a hang, and memory that grows beyond this a leak.
MOST_SECONDS = 60
MOST_MEGABYTES = 2048
LONGEST = 1024
# How soon it tries longer inputs: the fewer, the sooner. A program of a few bytes does little.
LENGTH_CONTROL = 10

# While it reads what is kept it has neither features nor inputs of its own.
_PULSE = re.compile(r"#(\d+)\s+\w+\s.*?cov: (\d+) (?:ft: (\d+) corp: (\d+)/)?")
_EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_COUNTERS = re.compile(r"INFO: Loaded (\d+) modules\s+\((\d+) inline 8-bit counters\)")
_ARTIFACT = re.compile(r"Test unit written to (\S+)")


def environment() -> dict[str, str]:
    """The sanitizers' runtime is in the interpreter before anything else, together with the fuzzer.

    The interpreter itself is not instrumented: its own allocator is switched off, so that each object is a piece of
    memory that is watched; leaks, which it has at exit, are left to the leak tests.
    """
    runtime = Path(atheris.path()) / "asan_with_fuzzer.so"
    return os.environ | {
        "LD_PRELOAD": str(runtime),
        "PYTHONPATH": os.pathsep.join((str(BUILD / "lib"), str(ROOT))),
        "PYTHONMALLOC": "malloc",
        "PYTHONHASHSEED": "0",
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:suppressions={UNDEFINED}",
    }


def command(target: str, *arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", f"{__package__}.engine", target, *arguments]


class Fuzzer:
    """One that runs, and what is known of it."""

    def __init__(self, target: str, seconds: int, seeds: list[Path]) -> None:
        self.target = target
        self.executions = self.coverage = self.features = self.corpus = self.counters = self.modules = 0
        self.artifact: Path | None = None
        self.findings = BUILD / "findings" / target
        found = BUILD / "corpus" / target
        for folder in (found, self.findings):
            folder.mkdir(parents=True, exist_ok=True)
        self.last = deque(maxlen=60)  # lines
        self.process = subprocess.Popen(
            command(
                target,
                f"-max_total_time={seconds}",
                f"-timeout={MOST_SECONDS}",
                f"-rss_limit_mb={MOST_MEGABYTES}",
                f"-max_len={LONGEST}",
                f"-len_control={LENGTH_CONTROL}",
                f"-artifact_prefix={self.findings}{os.sep}",
                "-print_final_stats=1",
                str(found),
                *map(str, seeds),
            ),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,  # what Python raises; the rest is said on stderr
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError):  # the pipe may be closed under it
            for line in self.process.stdout:
                self._hear(line)

    def _hear(self, line: str) -> None:
        if pulse := _PULSE.match(line):
            self.executions, self.coverage, self.features, self.corpus = map(int, pulse.groups("0"))
        elif final := _EXECUTIONS.match(line):
            self.executions = int(final[1])
        elif counters := _COUNTERS.match(line):
            self.modules, self.counters = map(int, counters.groups())
        elif artifact := _ARTIFACT.search(line):
            self.artifact = Path(artifact[1])
            self.last.append(line)
        elif not line.startswith("INFO: "):
            self.last.append(line)

    def wait(self) -> int:
        """The exit status, with all that was said before."""
        status = self.process.wait()
        self._reader.join()
        return status

    def stop(self) -> None:
        """End it, in a way that it can't refuse."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()


def replay(target: str, file: Path) -> int:
    """Run one input, with all that the fuzzer says of it shown; the exit status."""
    return subprocess.call(command(target, str(file.resolve())), cwd=ROOT, env=environment())


def merge(target: str, folder: Path, sources: list[Path]) -> int:
    """Put a smallest set of inputs that together reach what all of these reach into a folder."""
    arguments = ["-set_cover_merge=1", f"-max_len={LONGEST}", str(folder), *map(str, sources)]
    return subprocess.call(command(target, *arguments), cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL)
