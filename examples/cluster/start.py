"""Run the service on this machine: Redis, one worker a core, each at a port of its own, and nginx before them.

Ctrl-C ends it all; SIGHUP, or this command with --restart, restarts the workers one after another.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from supervisor import probes, programs
from supervisor.child import Child
from supervisor.cluster import Cluster, Stopped, say
from supervisor.errors import SetupError
from supervisor.files import USER, Folder

HERE = Path(__file__).resolve().parent
# Milliseconds for which granian keeps a connection that nobody uses: the most it takes, and more than nginx.conf has.
KEEP_ALIVE = 60_000


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def port_number(text: str) -> int:
    """A port, for argparse."""
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError
    return port


def worker_count(text: str) -> int:
    """A number of workers, for argparse."""
    count = int(text)
    if not 0 < count <= 256:
        raise ValueError
    return count


def parse_arguments() -> argparse.Namespace:
    """Return what the command was given."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Environment: CACHE=off (every request goes to the database), COHERENCE=pubsub, tracking or off, "
        "METRICS_PASSWORD.",
    )
    parser.add_argument(
        "--workers",
        type=worker_count,
        default=max(2, cores()),
        help="how many (default: %(default)s, one a core); restarts need two",
    )
    parser.add_argument("--http-port", type=port_number, default=80, help="default: %(default)s")
    parser.add_argument("--https-port", type=port_number, default=443, help="default: %(default)s")
    parser.add_argument(
        "--worker-port", type=port_number, default=8001, help="the first worker's; the others follow (%(default)s)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=HERE / "data",
        help="folder of the database, logs, password and ssl/ (default: %(default)s)",
    )
    parser.add_argument("--redis", metavar="URL", help="default: one is started for this cluster alone")
    parser.add_argument("--nginx", metavar="PROGRAM", default="nginx", help="default: %(default)s")
    parser.add_argument("--no-nginx", action="store_true", help="another one runs, as this user, from the same folder")
    parser.add_argument("--restart", action="store_true", help="restart the workers of the cluster that runs in --data")
    return parser.parse_args()


@contextlib.contextmanager
def only_one(folder: Folder) -> Iterator[None]:
    """Be the only cluster in a folder, and say in it who that is. Raises SetupError."""
    with (folder.path / "start.pid").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SetupError(f"a cluster runs in {folder.path} already: process {file.read().strip()}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def ask_to_restart(path: Path) -> None:
    """Send SIGHUP to the cluster that runs in a folder. Raises SetupError."""
    with contextlib.suppress(OSError), (path / "start.pid").open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.kill(int(file.read()), signal.SIGHUP)
            return
    raise SetupError(f"no cluster runs in {path}")


def redis_child(folder: Folder, port: int) -> Child:
    """A Redis that keeps nothing on disk."""
    command = [programs.redis_server(), "--bind", probes.LOCAL, "--port", str(port), "--save", "", "--daemonize", "no"]
    return Child(
        "redis", command, log=folder.log("redis"), folder=folder.path, answers=partial(probes.answers_redis, port)
    )


def worker_child(folder: Folder, number: int, port: int, redis_url: str) -> Child:
    """A granian with one worker process; it would share its port between several, and nobody could ask one of them."""
    command = [*programs.granian(), "--interface", "asgi", "--host", probes.LOCAL, "--port", str(port)]
    command += ["--workers", "1", "--http", "1", "--no-ws", "--http1-header-read-timeout", str(KEEP_ALIVE)]
    environment = {
        "WORKER": str(number),
        "DATABASE_URL": folder.database_url,
        "REDIS_URL": redis_url,
        "HEALTH_TOKEN": folder.token(),
    }
    return Child(
        f"worker {number}",
        [*command, "service.app:app"],
        log=folder.log(f"worker {number}"),
        folder=HERE,
        environment=environment,
        answers=partial(probes.answers_http, port),
    )


def nginx_child(program: str, folder: Folder, port: int) -> Child:
    """One nginx, in the foreground."""
    # Its processes are this user's, as all others are; as root it would take "nobody", who can't read the folder.
    settings = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
    return Child(
        "nginx",
        [program, "-p", str(folder.path), "-c", str(folder.path / "nginx.conf"), "-g", settings],
        log=folder.log("nginx"),
        answers=partial(probes.answers_http, port),
        end_by=signal.SIGQUIT,
    )


def make_cluster(arguments: argparse.Namespace, folder: Folder) -> Cluster:
    """Find all that is needed, and write down what nginx wants to know. Raises SetupError."""
    worker_ports = range(arguments.worker_port, arguments.worker_port + arguments.workers)
    nginx = None if arguments.no_nginx else programs.nginx(arguments.nginx)
    before, redis_url = [], arguments.redis
    if redis_url is None:
        redis_port = probes.free_port()
        redis_url = f"redis://{probes.LOCAL}:{redis_port}/0"
        before.append(redis_child(folder, redis_port))
    workers = [worker_child(folder, number, port, redis_url) for number, port in enumerate(worker_ports, 1)]
    for port in worker_ports:
        probes.require_free(port, probes.LOCAL, "--worker-port")
    after = []
    if nginx is not None:
        probes.require_free(arguments.http_port, "", "--http-port")
        probes.require_free(arguments.https_port, "", "--https-port")
        after.append(nginx_child(nginx, folder, arguments.http_port))
    folder.configure_nginx(HERE / "nginx.conf", arguments.http_port, arguments.https_port, worker_ports)
    return Cluster(before, workers, after)


def prepare(folder: Folder) -> None:
    """Make what is missing in the folder. Raises SetupError."""
    from service import tables

    if folder.is_open_to_others():
        say(f"others may look into {folder.path}, at the database and the logs; if they should not: chmod 700")
    if folder.make_certificate():
        say(f"made a certificate for this machine alone; put a real one to {folder.certificate} and {folder.key}")
    if password := folder.make_password():
        say(f"for /metrics and /dashboard, and not told again: user {USER}, password {password}")
    if tables.prepare(folder.database_url):
        say(f"made a database with {tables.USERS} users")


def announce(arguments: argparse.Namespace) -> None:
    """Say where it all is."""
    if not arguments.no_nginx:
        say(f"http://localhost:{arguments.http_port}/users/1/projects")
        say(f"https://localhost:{arguments.https_port}/users/1/projects")
        say(f"https://localhost:{arguments.https_port}/dashboard (user {USER})")
    for number in range(arguments.workers):
        say(f"worker {number + 1}: http://{probes.LOCAL}:{arguments.worker_port + number}/health")
    say(f"logs: {arguments.data / 'logs'}")
    say("running; Ctrl-C ends it")


def main() -> None:
    """Run until somebody wants an end of it."""
    arguments = parse_arguments()
    if arguments.restart:
        return ask_to_restart(arguments.data)
    programs.granian()
    folder = Folder(arguments.data)
    with only_one(folder):
        cluster = make_cluster(arguments, folder)
        cluster.listen_to_signals()
        prepare(folder)
        try:
            cluster.start()
            announce(arguments)
            cluster.run()
        except Stopped:
            pass
        finally:
            say("ending")
            cluster.stop()
    return None


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"error: {error}")
