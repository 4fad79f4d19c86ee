"""One process of the cluster: started, watched, ended, and never left behind."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

LONG_ENOUGH = 5.0  # seconds; what ends earlier is started again only after a pause
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have the system end this process with its parent, even where that is killed and can't end it. Linux has that."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A process with children of its own, if it likes: they are a group, and end together."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        end_by: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name, self.command, self.log, self.folder = name, command, log, folder
        self.environment = {**os.environ, **(environment or {})}
        self._answers = answers
        self.end_by = end_by
        self.is_wanted = False
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_again_at: float | None = None
        self._pause = SHORTEST_PAUSE

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it. It does not get the terminal's Ctrl-C: who started it decides when it ends."""
        self.is_wanted = True
        self._started_at, self._start_again_at = time.monotonic(), None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environment,
                start_new_session=True,
                preexec_fn=end_with_parent if sys.platform == "linux" else None,
            )

    def answers(self) -> bool:
        """Ask it whether it is there."""
        return self.runs and self._answers()

    def revive(self) -> str | None:
        """Start it again if it has ended and should not have; what happened, where there is news."""
        if not self.is_wanted or self.runs or self._process is None:
            return None
        now = time.monotonic()
        if self._start_again_at is None:
            self._bury()
            lived_long = now - self._started_at > LONG_ENOUGH
            self._pause = SHORTEST_PAUSE if lived_long else min(self._pause * 2, LONGEST_PAUSE)
            self._start_again_at = now + self._pause
            return f"{self.name} ended ({self._process.returncode}), and is started again"
        if now >= self._start_again_at:
            self.start()
        return None

    def ask_to_end(self) -> None:
        """Ask it to finish what it is doing, and end."""
        self.is_wanted = False
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.end_by)

    def kill(self) -> None:
        """End it and all that belongs to it, at once."""
        self.is_wanted = False
        if self._process is not None:
            self._bury()
            self._process.wait()

    def _bury(self) -> None:
        """End what a process that has ended, or is to end, has left: a worker whose parent was killed still serves."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def last_words(self) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text("utf-8", "replace")[-2000:].strip()
        return ""
