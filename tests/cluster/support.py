"""The example as its users run it: one command, under a real nginx and real granians, on free ports."""

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

from tiers.servers import BINARIES, PORTS, WATCHDOG, is_free, when

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cluster"
START = EXAMPLE / "start.py"
PASSWORD = "correct horse"
TO_START, TO_END = 90, 60


def missing():
    """What the example needs and this machine lacks; None if it has all."""
    if sys.platform == "win32":
        return "nginx and the start command are for Linux and macOS"
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"])
    for program in ("nginx", "openssl"):
        if shutil.which(program, path=path) is None:
            return f"{program} is needed"
    for module in ("granian", "prometheus_client"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is needed: install the dependency group 'cluster' where it has a wheel"
    if not BINARIES:
        return "a Redis is needed, and redis-py"
    return None


def free_ports(count):
    """So many ports in a row at which nobody listens, beyond other tests' and below the system's for clients."""
    for _ in range(10_000):
        first = random.SystemRandom().randrange(PORTS.stop, 32_700)
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError("no free ports")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def descendants(pid):
    """The processes that this one has started, and those that these have (Linux)."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name of the program, in parentheses, may hold anything.
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # a zombie is for whoever started it to collect


class Example:
    """The start command, running."""

    def __init__(self, folder, *, workers=3, options=(), environment=None):
        self.workers = workers
        self.data = folder / "data"
        first = free_ports(workers + 2)
        self.http_port, self.https_port = first, first + 1
        self.worker_ports = range(first + 2, first + 2 + workers)
        self.ports = (self.http_port, self.https_port, *self.worker_ports)
        self.options = options
        self.environment = {"METRICS_PASSWORD": PASSWORD, **(environment or {})}
        self.lines = []
        self.process = None

    def command(self):
        given = {
            "--workers": self.workers,
            "--http-port": self.http_port,
            "--https-port": self.https_port,
            "--worker-port": self.worker_ports[0],
            "--data": self.data,
        }
        words = [str(word) for option in given.items() for word in option]
        return [sys.executable, str(START), *words, *self.options]

    def start(self):
        self.process = subprocess.Popen(
            self.command(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )
        # Should the tests be killed, it is killed; and with it, as it sees to, all that it has started.
        WATCHDOG.tell("+", self.process.pid)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        when(self.says_or_ends("Ctrl-C ends it"), self.told, seconds=TO_START)
        assert self.process.poll() is None, self.told()
        return self

    def _read(self):
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip())

    def says_or_ends(self, text):
        return lambda: self.says(text) or self.process.poll() is not None

    def says(self, text):
        return any(text in line for line in self.lines)

    def told(self):
        logs = [f"{path.name}: {path.read_text(errors='replace')[-1500:]}" for path in self.data.glob("logs/*.log")]
        return "\n".join([*self.lines, *logs])

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.process.wait(TO_END)
        self.reader.join(TO_END)
        WATCHDOG.tell("-", self.process.pid)
        return self.process.returncode

    def close(self):
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        self.close()

    def token(self):
        """What the workers want to see."""
        return (self.data / "token").read_text()

    def ask(self, path, *, port=None, method="GET", body=None, tls=False, password=None, token=None):
        """The status and the body (of JSON, the value) that answer one request over a connection of its own."""
        if tls:
            trusting = ssl.create_default_context(cafile=self.data / "ssl" / "cert.pem")
            connection = http.client.HTTPSConnection("localhost", self.https_port, timeout=60, context=trusting)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port or self.http_port, timeout=60)
        headers = {}
        if password is not None:
            headers["Authorization"] = "Basic " + base64.b64encode(f"metrics:{password}".encode()).decode()
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            is_json = answer.headers.get_content_type() == "application/json" and text
            return answer.status, json.loads(text) if is_json else text

    def pids(self):
        """The process of each worker, by its port; None for one that does not answer."""
        found = {}
        for port in self.worker_ports:
            try:
                found[port] = self.ask("/health", port=port)[1]["pid"]
            except OSError:
                found[port] = None
        return found

    def figure(self, pattern, port):
        """A figure of a worker's metrics: the sum of all that match."""
        text = self.ask("/metrics", port=port, token=self.token())[1]
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(pattern, line))
