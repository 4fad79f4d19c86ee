"""The service under nginx: every worker is reached, nothing fails whatever happens to a worker, and none is stale."""

import os
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
POOL = "db_client_connection_pool_name"
AGE = 1.2  # seconds; what a worker tells of itself is a second old at the most


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
    assert all(set(body) == {"status", "pid", "worker"} for _, body in answers)
    assert {body["status"] for _, body in answers} == {"UP"}
    assert {body["worker"] for _, body in answers} == {"1", "2", "3"}
    assert {body["pid"] for _, body in answers} == set(example.pids().values())


def test_only_health_is_not_logged(example):
    log = example.data / "logs" / "access.log"
    example.ask("/health?and-more")
    example.ask("/users/17/projects?logged")
    when(lambda: "/users/17/projects?logged" in log.read_text())
    assert "/health" not in log.read_text()


@pytest.mark.parametrize("password", [None, "wrong"])
@pytest.mark.parametrize("path", ["/workers/1/metrics", "/workers/4/metrics", "/workers/99/dashboard"])
def test_nobody_counts_the_workers_without_a_password(example, path, password):
    """They hear the same of one that is there and of one that is not."""
    assert example.ask(path, password=password)[0] == 401


@pytest.mark.parametrize("path", ["//metrics", "/./metrics", "/%6detrics", "/users/../metrics", "/metrics%0a"])
def test_the_token_is_for_the_collector_alone(example, path):
    """However its route is written, it is not the application that is asked, and handed the token."""
    assert example.ask(path)[0] == 401
    status, text = example.ask(path, password=PASSWORD)
    assert status == 200
    assert "cache_gets_total" in text


@pytest.mark.parametrize(("password", "status"), [(None, 401), ("wrong", 401), (PASSWORD, 200)])
@pytest.mark.parametrize("path", ["/metrics", "/workers/1/metrics", "/workers/3/metrics"])
def test_metrics_ask_for_a_password(example, path, password, status):
    got, text = example.ask(path, password=password)
    assert got == status
    assert ("cache_gets_total" in text) == (status == 200)


@pytest.mark.parametrize("path", ["/metrics", "/dashboard", "/dashboard/live", "/dashboard/cluster", "/cache/stats"])
def test_the_workers_ask_for_a_token(example, path):
    """Although they are asked from their own machine, as everybody is who comes through nginx."""
    port = example.worker_ports[0]
    for refused in ({}, {"password": PASSWORD}, {"token": "wrong"}):
        status, body = example.ask(path, port=port, **refused)
        assert status == 401
        assert set(body) == {"error"}
    assert example.ask(path, port=port, token=example.token())[0] == 200


@pytest.mark.parametrize("path", ["/dashboard/live", "/dashboard/memory", "/cache/stats", "/pool/stats"])
def test_nothing_comes_past_the_password(example, path):
    """nginx vouches for whoever comes where it asks for the password, and for nobody else."""
    assert example.ask(path)[0] == 401
    assert example.ask(path, password=PASSWORD)[0] == 401


@pytest.mark.parametrize(
    "path",
    ["/workers/4/metrics", "/workers/0/metrics", "/workers/1/users/1/projects", "/workers/1/metrics%0d%0aX:%20y"],
)
def test_there_is_no_such_worker(example, path):
    assert example.ask(path, password=PASSWORD)[0] == 404


def test_metrics_are_what_prometheus_reads(example):
    from prometheus_client.parser import text_string_to_metric_families

    for number, port in enumerate(example.worker_ports, 1):
        example.ask("/users/1/projects", port=port)
        _, text = example.ask(f"/workers/{number}/metrics", password=PASSWORD)
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        assert {sample.labels["worker"] for sample in samples} == {str(number)}
        caches = {sample.labels["cache"] for sample in samples if sample.name == "cache_gets_total"}
        pools = {sample.labels[POOL] for sample in samples if sample.name == "db_client_connection_max"}
        assert (caches, pools) == ({"projects"}, {"database", "database.writer"})


def test_each_worker_has_a_dashboard(example):
    for number, port in enumerate(example.worker_ports, 1):
        status, figures = example.ask(f"/workers/{number}/dashboard", password=PASSWORD)
        assert status == 200
        assert (figures["worker"], figures["pid"]) == (str(number), example.pids()[port])
        assert set(figures["services"]["caches"]) == {"projects"}
        assert figures["checks"]["database answers"]["status"] == "UP"
        assert example.ask(f"/workers/{number}/dashboard/live", password=PASSWORD)[1]["now"]["worker"] == str(number)
    assert example.ask("/dashboard")[0] == 302


def test_every_worker_knows_all_workers(example):
    def seen(port):
        body = example.ask("/dashboard/cluster", port=port, token=example.token())[1]
        return body["cluster"], {worker["worker"]: worker["pid"] for worker in body["workers"]}

    pids = {str(number): pid for number, pid in enumerate(example.pids().values(), 1)}
    for port in example.worker_ports:
        when(lambda port=port: seen(port) == ("UP", pids), lambda port=port: str(seen(port)))
    assert example.ask("/dashboard/cluster?page=1", password=PASSWORD)[1]["cluster"] == "UP"


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
    hits, loads = r'khronos_cache_tier_hits_total\{.*tier="memory"', r"cache_load_duration_seconds_count\{"
    time.sleep(AGE)
    before = example.figure(hits, port), example.figure(loads, port)
    for _ in range(10):
        example.ask("/users/5/projects", port=port)
    when(lambda: example.figure(hits, port) >= before[0] + 10)
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
