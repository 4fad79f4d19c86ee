"""In each interpreter that `make asan` starts: the sanitizers' runtime goes into Python, and into no other program.

The tests start servers, a database and a browser, which were built without it: it slows them down, or ends them.
"""

import os
import subprocess
from pathlib import Path

RUNTIME = os.environ["LD_PRELOAD"]
start = subprocess.Popen.__init__


def start_with_or_without(self, args, *rest, env=None, **options):
    program = Path(os.fsdecode(args if isinstance(args, (str, bytes, os.PathLike)) else args[0])).name
    environment = dict(os.environ if env is None else env)
    environment.pop("LD_PRELOAD", None)
    if program.startswith("python"):
        environment["LD_PRELOAD"] = RUNTIME
    start(self, args, *rest, env=environment, **options)


subprocess.Popen.__init__ = start_with_or_without
