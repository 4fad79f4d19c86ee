"""The servers and deployments that the other tests rely on do what they say, and none is left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .servers import PATIENCE, Server, free_port, redis, when

REPOSITORY = Path(__file__).resolve().parents[2]


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:  # dead, and nobody has asked for it yet
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_server_starts_answers_and_is_empty(server):
    assert server.ask("PING")
    assert server.keys() == []
    server.ask("SET", "a", "b")
    assert server.calls()["set"] == 1
    assert server.keys() == [b"a"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_a_persistent_server_held_is_there_when_it_starts_again(own_server, end):
    own_server.ask("SET", "a", "b")
    port = own_server.port
    getattr(own_server, end)()
    with pytest.raises(redis.ConnectionError):
        own_server.ask("PING")
    own_server.start()
    assert own_server.port == port
    assert own_server.ask("GET", "a") == b"b"


def test_a_paused_server_accepts_and_answers_nothing(own_server):
    own_server.pause()
    with pytest.raises(redis.TimeoutError):
        own_server.ask("PING", socket_timeout=0.2)
    own_server.resume()
    assert own_server.ask("PING", socket_timeout=PATIENCE)


def test_a_password_is_asked_for(one_server):
    with Server(password="correct-horse") as server:
        assert server.ask("PING")
        with pytest.raises(redis.AuthenticationError):
            server.ask("PING", password=None)
        assert "correct-horse" in server.url


def test_ports_are_free_and_not_given_twice():
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


SCRIPT = """
import sys, time
from tests.tiers.servers import Server
server = Server().start()
server.pause() if "pause" in sys.argv else None
print(server.pid, server.folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["runs", "pause"])
def test_servers_end_with_a_process_that_had_no_chance_to_stop_them(one_server, how, what):
    command = [sys.executable, "-c", SCRIPT, what]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        pid, folder = process.stdout.readline().split()
        assert not gone(int(pid))
        process.send_signal(how)
        process.wait(PATIENCE)
    when(lambda: gone(int(pid)), "the server is still there")
    when(lambda: not os.path.exists(folder), "its folder is still there")


def test_a_forked_child_does_not_keep_servers_alive(one_server):
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    script = SCRIPT.replace("print(", "import os\nif os.fork() == 0:\n    time.sleep(600)\nprint(")
    command = [sys.executable, "-W", "ignore", "-c", script, "runs"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        pid, _ = process.stdout.readline().split()
        process.kill()
        when(lambda: gone(int(pid)), "the server is still there")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        process.stdout.close()


class TestCluster:
    def test_its_primaries_share_the_slots(self, cluster):
        with cluster.asked() as client:
            for number in range(100):
                client.set(f"key:{number}", number)
        assert len(cluster.keys()) == 100
        assert all(node.keys() for node in cluster.primaries())
        assert len(cluster.primaries()) == 3

    def test_a_slot_moves_with_what_is_in_it(self, cluster):
        with cluster.asked() as client:
            client.set("a", 1)
        slot = cluster.slot_of("a")
        before = cluster.node_of(slot)
        after = cluster.move(slot)
        assert cluster.node_of(slot) is after is not before
        assert after.ask("GET", "a") == b"1"
        with pytest.raises(redis.exceptions.MovedError):
            before.ask("GET", "a")
        assert cluster.move(slot, before) is before

    def test_a_slot_on_its_way_is_asked_for_at_the_target(self, cluster):
        slot = cluster.slot_of("a")
        target = next(node for node in cluster.primaries() if node is not cluster.node_of(slot))
        with cluster.moving(slot, target):
            with pytest.raises(redis.exceptions.AskError):
                cluster.node_of(slot).ask("GET", "a")

    def test_a_replica_takes_over_from_a_dead_primary(self, own_cluster):
        with own_cluster.asked() as client:
            client.set("a", 1)
        primary = own_cluster.holding("a")
        replica = own_cluster.add_replica(primary)
        primary.kill()
        own_cluster.fail_over(replica)
        assert own_cluster.holding("a") is replica
        assert replica.ask("GET", "a") == b"1"


def test_sentinels_fail_over(own_sentinels):
    own_sentinels.client().set("a", 1)
    old = own_sentinels.primary
    own_sentinels.fail_over()
    assert own_sentinels.primary is not old
    when(lambda: own_sentinels.client().get("a") == b"1")
    began = time.monotonic()
    own_sentinels.recover()
    assert time.monotonic() - began < PATIENCE
    assert own_sentinels.client().get("a") == b"1"
