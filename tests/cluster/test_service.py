"""The service under nginx: every worker is reached, nothing fails whatever happens to a worker, and none is stale."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from tiers.servers import when

from .load import Load, request
from .support import PASSWORD, START, Example, descendants

REQUESTS, CONNECTIONS = 10_000, 100
USERS = 100


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    with Example(tmp_path_factory.mktemp("cluster")) as example:
        yield example


def reads_and_writes(number):
    """Of a hundred requests, one changes something."""
    user = number % USERS + 1
    if number % 100 == 99:
        project = (user - 1) * 10 + 1
        body = f'{{"name": "renamed {number}"}}'
        return request(f"/users/{user}/projects/{project}", f'{{"id": {project},', method="PUT", body=body)
    return request(f"/users/{user}/projects", f'{{"user": {user}, "projects": [{{"id": {user * 10 - 9},')


def under_load(example):
    return Load(example.http_port, reads_and_writes, connections=CONNECTIONS, at_least=REQUESTS)


def check(load):
    assert not load.report.failures
    assert load.report.answers >= REQUESTS


def test_health_reaches_every_worker(example):
    answers = [example.ask("/health") for _ in range(100)]
    assert {status for status, _ in answers} == {200}
    assert {body["status"] for _, body in answers} == {"UP"}
    assert {body["worker"] for _, body in answers} == {"1", "2", "3"}
    assert {body["pid"] for _, body in answers} == set(example.pids().values())


def test_only_health_is_not_logged(example):
    log = example.data / "logs" / "access.log"
    example.ask("/health?and-more")
    example.ask("/users/17/projects?logged")
    when(lambda: "/users/17/projects?logged" in log.read_text())
    assert "/health" not in log.read_text()


@pytest.mark.parametrize(("password", "status"), [(None, 401), ("wrong", 401), (PASSWORD, 200)])
def test_metrics_ask_for_a_password(example, password, status):
    got, text = example.ask("/metrics", password=password)
    assert got == status
    assert ("cache_gets_total" in text) == (status == 200)


def test_metrics_are_what_prometheus_reads(example):
    example.ask("/users/1/projects")
    _, text = example.ask("/metrics", password=PASSWORD)
    line = re.compile(r'# TYPE [a-z_]+ (counter|gauge)|[a-z_]+\{([a-z_]+="[^"\\]*",?)+\} [0-9.e-]+')
    assert [each for each in text.splitlines() if not line.fullmatch(each)] == []
    types = [each for each in text.splitlines() if each.startswith("#")]
    assert len(types) == len(set(types))


def test_tls_answers(example):
    status, body = example.ask("/users/1/projects", tls=True)
    assert status == 200
    assert len(body["projects"]) == 10


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/users/1/projects", None, 200),
        ("HEAD", "/users/1/projects", None, 200),
        ("GET", "/users/101/projects", None, 404),
        ("GET", "/users/one/projects", None, 404),
        ("GET", "/users/1234567890/projects", None, 404),
        ("GET", "/", None, 404),
        ("POST", "/users/1/projects", {}, 405),
        ("PUT", "/users/1/projects/1", {"name": "Engine"}, 200),
        ("PUT", "/users/2/projects/1", {"name": "Engine"}, 404),
        ("PUT", "/users/1/projects/1", {"name": ""}, 400),
        ("PUT", "/users/1/projects/1", ["name"], 400),
        ("PUT", "/users/1/projects/1", None, 400),
        ("PUT", "/users/1/projects/1", {"name": "x" * 70_000}, 413),
    ],
)
def test_answers(example, method, path, body, status):
    assert example.ask(path, method=method, body=body)[0] == status


def test_the_workers_themselves_refuse_a_large_body(example):
    # nginx does so before; but it need not be there.
    body = {"name": "x" * 70_000}
    assert example.ask("/users/1/projects/1", method="PUT", body=body, port=example.worker_ports[0])[0] == 413


def test_hits_come_from_memory(example):
    port = example.worker_ports[0]
    example.ask("/users/5/projects", port=port)
    example.ask("/users/5/projects", port=port)
    hits, loads = r'cache_gets_total.*tier="memory"', "khronos_cache_loads_total"
    before = example.figure(hits, port), example.figure(loads, port)
    for _ in range(10):
        example.ask("/users/5/projects", port=port)
    assert (example.figure(hits, port), example.figure(loads, port)) == (before[0] + 10, before[1])


def test_an_update_through_one_worker_is_seen_by_all(example):
    def name(port):
        return example.ask("/users/3/projects", port=port)[1]["projects"][0]["name"]

    for number in range(20):
        for port in example.worker_ports:
            name(port)
            name(port)  # now it lies in this worker's memory
        own = example.worker_ports[number % example.workers]
        new = f"version {number}"
        assert example.ask("/users/3/projects/21", port=own, method="PUT", body={"name": new})[0] == 200
        end = time.monotonic() + 1
        assert name(own) == new
        for port in example.worker_ports:
            left = max(end - time.monotonic(), 0)
            when(lambda port=port, new=new: name(port) == new, f"{port} has not seen {new}", seconds=left)
        assert {name(port) for port in example.worker_ports for _ in range(5)} == {new}


def test_a_load_has_no_failure(example):
    with under_load(example) as load:
        pass
    check(load)


def test_a_worker_that_is_killed_costs_nobody_an_answer(example):
    before = example.pids()
    port = example.worker_ports[0]
    with under_load(example) as load:
        when(lambda: load.sent > 1000)
        os.kill(before[port], signal.SIGKILL)
        when(lambda: example.pids()[port] not in (None, before[port]))
        killed_at = load.sent
        when(lambda: load.sent > killed_at + 1000)
    check(load)
    after = example.pids()
    assert [port for port in before if before[port] != after[port]] == [port]
    assert example.says("worker 1 ended")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_whose_parent_is_killed_is_replaced_too(example):
    before = example.pids()
    port = example.worker_ports[1]
    [parent] = [pid for pid in descendants(example.process.pid) if before[port] in descendants(pid)]
    with under_load(example) as load:
        when(lambda: load.sent > 1000)
        os.kill(parent, signal.SIGKILL)
        when(lambda: example.pids()[port] not in (None, before[port]))
    check(load)


def test_restarting_all_workers_costs_nobody_an_answer(example):
    before = example.pids()
    with under_load(example) as load:
        when(lambda: load.sent > 1000)
        subprocess.run([sys.executable, START, "--restart", "--data", example.data], check=True, timeout=60)
        when(lambda: example.says("all workers restarted") or example.says("left as they are"), seconds=200)
    check(load)
    after = example.pids()
    assert example.says("all workers restarted")
    assert None not in after.values()
    assert not set(before.values()) & set(after.values())


def test_killing_one_while_all_restart_costs_nobody_an_answer(example):
    """nginx may trust none of them for a moment; each is its own backup then."""
    before, restarts = example.pids(), example.lines.count("all workers restarted")
    with under_load(example) as load:
        when(lambda: load.sent > 1000)
        os.kill(before[example.worker_ports[-1]], signal.SIGKILL)
        example.process.send_signal(signal.SIGHUP)
        when(lambda: example.lines.count("all workers restarted") > restarts, example.told, seconds=200)
    check(load)
    assert not set(before.values()) & set(example.pids().values())
