"""A process that takes part in the soak, as the one sees it that has started it: lines of JSON to and fro."""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

PATIENCE = 120.0  # seconds
REPOSITORY = str(Path(__file__).resolve().parents[2])


class Silent(Exception):
    """It has not said what it had to say."""


class Child:
    def __init__(self, module, **options):
        self.module = module
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.{module}", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([REPOSITORY, *sys.path]), "PYTHONFAULTHANDLER": "1"},
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def heard(self):
        """The next line that it says."""
        try:
            line = self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise Silent(f"{self.module} has said nothing for {PATIENCE:g} seconds") from None
        if line is None:
            raise Silent(f"{self.module} has ended with {self.process.wait(PATIENCE)}")
        return json.loads(line)

    def ask(self):
        try:
            self.process.stdin.write("\n")
        except OSError:  # it has ended: it is heard how
            pass
        return self.heard()

    def end(self):
        """Have it stop; its exit status."""
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(PATIENCE)
