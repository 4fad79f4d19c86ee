"""The link by which a process hears of others: cut, silent, slow, paused, forked; nothing old is served for long.

While it is down an entry lives for a second; while nobody knows, memory is trusted for no longer than that. What was
dropped meanwhile is not served when it is back.
"""

import logging
import os
import signal
import time

import pytest

from .support import Loader, Refused, complaints, run_script, when
from .test_coherence_versions import (
    CHANNEL,
    LIMIT,
    MARGIN,
    MODES,
    Remote,
    Versions,
    filled,
    listener_threads,
    listening,
    message,
    standing,
    until_up,
)

SYNC = pytest.mark.parametrize("face", ["sync"], indirect=True)
OLDEST = LIMIT + MARGIN


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


@pytest.fixture
def raw(one_server):
    with one_server.asked() as client:
        yield client


def both(make, url, **options):
    """A cache of each mode, with connections of its own, that reads in reasonable time from a busy machine's Redis."""
    caches = {mode: make(redis=url, coherence=mode, **options) for mode in MODES}
    for cache in caches.values():
        cache.redis.timeout = cache.redis._link.timeout = 2.0
    return caches


def states(caches):
    return {mode: standing(cache).state for mode, cache in caches.items()}


def kill_those_who_listen(server):
    with server.asked() as client:
        return sum(client.client_kill_filter(_id=entry["id"]) for entry in listening(server))


def young(versions, *seen):
    """None of these reads was too old, and there were some."""
    oldest = versions.oldest(*seen)
    assert max(oldest.values()) <= OLDEST, oldest
    assert all(any(number is not None for _, number in reads) for reads in seen[-1].values())


def nothing_old_is_left(versions, caches):
    """All have the last version; `versions` has ended."""
    for cache in caches.values():
        when(lambda cache=cache: cache.get(versions.key) == versions.number)
        for _ in range(3):
            assert cache.get(versions.key) == versions.number


class TestCut:
    @pytest.mark.parametrize("how", ["killed", "cut"])
    def test_nothing_is_older_than_a_second(self, make, one_server, proxy, raw, how):
        caches = both(make, proxy.url)
        with Versions(raw) as versions:
            seen = [versions.watch(caches, 0.2)]
            for _ in range(2):
                proxy.cut() if how == "cut" else kill_those_who_listen(one_server)
                seen.append(versions.watch(caches, 0.2))
            seen.append(versions.watch(caches, 1.3))
        young(versions, *seen)
        until_up(*caches.values())
        for cache in caches.values():
            assert standing(cache).resyncs >= 1
        nothing_old_is_left(versions, caches)
        assert len(listening(one_server)) == 2

    def test_by_the_type_of_the_connection(self, make, one_server, raw):
        cache = make(redis=one_server.url, coherence="pubsub")
        raw.set("khronos:k", '"old"')
        filled(cache, {"k": "old"})
        assert raw.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
        when(lambda: standing(cache).resyncs == 1)
        until_up(cache)
        filled(cache, {"k": "old"})
        raw.set("khronos:k", '"new"')
        raw.publish(CHANNEL, message(1, "k"))
        when(lambda: cache.get("k") == "new")

    @SYNC
    def test_the_server_restarts(self, make, own_server):
        caches = both(make, own_server.url)
        with own_server.asked() as client, Versions(client) as versions:
            seen = [versions.watch(caches, 0.2)]
            for kill in (True, False):
                own_server.restart(kill=kill)
                seen.append(versions.watch(caches, 1.5, load=kill))
        young(versions, *seen)
        until_up(*caches.values())
        assert all(standing(cache).resyncs >= 2 for cache in caches.values())
        nothing_old_is_left(versions, caches)

    def test_what_was_dropped_meanwhile(self, make, one_server, proxy, mode):
        """While the link is down: nothing of before is in memory; and when it is back, nothing of meanwhile."""
        cache, other = make(redis=proxy.url, coherence=mode), make(redis=one_server.url, coherence=mode)
        cache.redis.timeout = cache.redis._link.timeout = 2.0
        values = {f"k:{number}": "old" for number in range(50)}
        for turn in range(1, 3):
            other.set_many(values)
            filled(cache, values)
            proxy.refusing()
            when(lambda: standing(cache).state == "down")
            assert not any(key in cache.memory for key in values)
            loaded = {key: cache.get_or_compute(key, Loader("old")) for key in values}
            assert loaded == values
            other.set("k:0", "new")
            other.delete("k:1")
            other.invalidate("k:2*")
            proxy.passing()
            until_up(cache)
            assert standing(cache).resyncs == turn
            expected = {"k:0": "new"} | {key: "old" for key in values if key != "k:1" and key[2] not in "02"}
            first = {key: cache.get(key) for key in values}
            assert {key: value for key, value in first.items() if value not in (None, expected.get(key))} == {}
            # Its own breaker may be open for a moment.
            when(lambda expected=expected: cache.get_many(values) == expected)
            for key in values:
                assert cache.get(key) == expected.get(key)

    @SYNC
    def test_an_entry_lives_for_a_second_while_it_is_down(self, make, one_server, proxy):
        caches = both(make, proxy.url)
        proxy.refusing()
        when(lambda: set(states(caches).values()) == {"down"})
        loaders = {mode: Loader("loaded") for mode in MODES}
        end, reads = time.monotonic() + 2.6, 0
        while time.monotonic() < end:
            for mode, cache in caches.items():
                assert cache.get_or_compute("k", loaders[mode]) == "loaded"
            reads += 1
            time.sleep(0.005)
        for mode, loader in loaders.items():
            assert 3 <= loader.calls <= max(reads // 3, 4), mode

    @SYNC
    def test_a_storm(self, make, one_server, proxy, raw):
        """Cut again as soon as it has come back, for some seconds."""
        caches = both(make, proxy.url)
        with Versions(raw) as versions:
            seen = []
            end = time.monotonic() + 3
            while time.monotonic() < end:
                proxy.cut()
                seen.append(versions.watch(caches, 0.05))
            young(versions, *seen)
        until_up(*caches.values())
        for mode, cache in caches.items():
            assert standing(cache).resyncs >= 2, mode
        nothing_old_is_left(versions, caches)
        assert len(listener_threads()) == 2
        when(lambda: len(listening(one_server)) == 2)

    @SYNC
    def test_a_server_that_refuses_from_now_on(self, make, one_server, raw, caplog):
        one_server.ask("ACL", "SETUSER", "app", "reset", "on", ">secret", "~*", "&*", "+@all")
        try:
            caches = both(make, f"redis://app:secret@{one_server.host}:{one_server.port}")
            with caplog.at_level(logging.INFO, logger="khronos_fast"), Versions(raw) as versions:
                one_server.ask("ACL", "SETUSER", "app", "resetchannels", "-client|tracking")
                kill_those_who_listen(one_server)
                when(lambda: set(states(caches).values()) == {"down"})
                seen = versions.watch(caches, 2.0)
                assert set(states(caches).values()) == {"down"}
                young(versions, seen)
                warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
                assert len(warnings) == 2, warnings  # one each
                one_server.ask("ACL", "SETUSER", "app", "&*", "+client|tracking")
                until_up(*caches.values())
                seen = versions.watch(caches, 0.2)
                young(versions, seen)
            nothing_old_is_left(versions, caches)
        finally:
            one_server.ask("ACL", "DELUSER", "app")


class TestSilence:
    @SYNC
    def test_a_black_hole(self, make, proxy, raw):
        """Nobody closes anything; what is read is loaded, for nothing else answers."""
        caches = both(make, proxy.url)
        for cache in caches.values():
            cache.redis.timeout = cache.redis._link.timeout = 0.25
        with Versions(raw) as versions:
            seen = [versions.watch(caches, 0.2)]
            proxy.blackholing()
            began = time.monotonic()
            seen.append(versions.watch(caches, 4.0, load=True))
            assert set(states(caches).values()) == {"down"}
            proxy.passing()
            proxy.cut()
            until_up(*caches.values())
            seen.append(versions.watch(caches, 0.3, load=True))
        found = [{mode: [read for read in each[mode] if read[0] >= began + 3] for mode in MODES} for each in seen]
        assert max(versions.oldest(*found).values()) <= OLDEST  # that much is promised
        young(versions, *seen)  # and this is what the second of trust comes to
        assert all(standing(cache).resyncs >= 1 for cache in caches.values())
        nothing_old_is_left(versions, caches)

    @SYNC
    def test_silence_without_requests(self, make, proxy, one_server, mode):
        """Nobody asks anything meanwhile: the first read afterwards finds nothing in memory."""
        cache = make(redis=proxy.url, coherence=mode)
        one_server.ask("SET", "khronos:k", '"old"')
        filled(cache, {"k": "old"})
        proxy.blackholing()
        time.sleep(1.3)
        assert cache.get_or_compute("k", Loader("new")) == "new"
        assert standing(cache).state != "up"

    @SYNC
    def test_a_server_that_hangs_for_a_moment(self, make, own_server):
        """Too short to take the link for broken: memory is not asked, but keeps what it has."""
        own_server.ask("SET", "khronos:k", '"kept"')
        caches = both(make, own_server.url)
        for _ in range(5):
            for cache in caches.values():
                filled(cache, {"k": "kept"})
            before = [standing(cache).resyncs for cache in caches.values()]
            own_server.pause()
            try:
                when(lambda: "up" not in states(caches).values())
                time.sleep(0.01)  # to which the clock of memory is exact
                suspended = set(states(caches).values()) == {"suspended"}
                there = [state for mode, state in states(caches).items() if "k" in caches[mode].memory]
                assert "suspended" not in there
            finally:
                own_server.resume()
            until_up(*caches.values())
            if suspended and before == [standing(cache).resyncs for cache in caches.values()]:
                assert all("k" in cache.memory for cache in caches.values())
                return
        pytest.fail("it was never found to be suspended")

    @pytest.mark.timeout(120)
    def test_a_process_that_is_paused(self, one_server, raw):
        """What it reads first when it goes on is no older, in all modes and kinds of caches."""
        with Versions(raw, every=0.05) as versions:
            kinds = [(mode, face) for mode in MODES for face in ("plain", "async")]
            remotes = {kind: Remote(one_server.url, *kind) for kind in kinds}
            try:
                for remote in remotes.values():
                    assert remote.heard() == "ready"
                    remote.tell(["watch", "k", 7.0])
                time.sleep(0.5)
                for remote in remotes.values():
                    os.kill(remote.process.pid, signal.SIGSTOP)
                time.sleep(5)
                resumed = time.monotonic()
                for remote in remotes.values():
                    os.kill(remote.process.pid, signal.SIGCONT)
                seen = {kind: remote.heard() for kind, remote in remotes.items()}
                assert all(any(began >= resumed for began, _ in reads) for reads in seen.values())
                young(versions, seen)
                for remote in remotes.values():
                    when(lambda remote=remote: remote.call("stats")["coherence"]["state"] == "up")
                    remote.end()
            finally:
                for remote in remotes.values():
                    os.kill(remote.process.pid, signal.SIGCONT) if remote.process.poll() is None else None
                    remote.__exit__(None, None, None)

    @pytest.mark.timeout(120)
    def test_one_that_is_too_slow(self, own_server, mode):
        """The server has more to tell than it keeps for anybody, and closes the connection."""
        own_server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0 normal 1mb 0 0")
        with Remote(own_server.url, mode) as remote, own_server.asked() as client:
            assert remote.heard() == "ready"
            client.set("khronos:k", '"old"')
            when(lambda: remote.call("get", "k") == "old" and remote.call("in memory", "k"))
            os.kill(remote.process.pid, signal.SIGSTOP)
            try:
                if mode == "pubsub":
                    long = message(1, "x" * 100_000)
                    when(lambda: [client.publish(CHANNEL, long) for _ in range(50)][-1] == 0, every=0)
                else:
                    script = (
                        "for n = 1, 50000 do redis.call('SET', ARGV[1] .. n, 1) redis.call('DEL', ARGV[1] .. n) end"
                    )
                    when(lambda: client.eval(script, 0, "khronos:" + "x" * 200) or not listening(own_server), every=0)
                client.set("khronos:k", '"new"')
            finally:
                os.kill(remote.process.pid, signal.SIGCONT)
            assert remote.call("get", "k") in ("old", "new")
            when(lambda: remote.call("get", "k") == "new")
            when(lambda: remote.call("stats")["coherence"]["state"] == "up")
            assert remote.call("stats")["coherence"]["resyncs"] >= 1
            client.set("khronos:k", '"newer"')
            client.publish(CHANNEL, message(2, "k"))
            when(lambda: remote.call("get", "k") == "newer")
            remote.end()

    @SYNC
    def test_a_slow_network(self, make, proxy, one_server):
        caches = both(make, proxy.url)
        for cache in caches.values():
            when(lambda cache=cache: standing(cache).lag is not None)
        proxy.delaying(0.1)
        for cache in caches.values():
            when(lambda cache=cache: standing(cache).lag >= 0.1)
        end = time.monotonic() + 1.5
        lags = []
        while time.monotonic() < end:
            assert set(states(caches).values()) == {"up"}
            lags += [standing(cache).lag for cache in caches.values()]
            time.sleep(0.02)
        assert max(lags) >= 0.1
        for mode, cache in caches.items():
            other = make(redis=one_server.url, coherence=mode)
            other.set("k", "old")
            when(lambda cache=cache: cache.get("k") == "old" and "k" in cache.memory)
            other.set("k", "new")
            when(lambda cache=cache: cache.get("k") == "new")
            assert standing(cache).resyncs == 0
        proxy.passing()
        for cache in caches.values():
            when(lambda cache=cache: standing(cache).lag < 0.1)


class TestStale:
    def test_the_last_value_outlives_the_link_and_not_its_return(self, make, own_server, mode):
        with make(redis=own_server.url, stale_ttl=60) as other:
            other.set("k", "last")
        cache = make(redis=own_server.url, coherence=mode, stale_ttl=60)
        failing = Loader(Refused("no"))
        filled(cache, {"k": "last"})
        own_server.kill()
        when(lambda: standing(cache).state == "down")
        for _ in range(3):
            assert cache.get_or_compute("k", failing) == "last"
            assert cache.get("k") == "last"
        assert cache.stats().stale_served >= 1
        own_server.start()
        own_server.ask("DEL", "khronos:k")
        until_up(cache)
        assert standing(cache).resyncs == 1
        with pytest.raises(Refused):
            cache.get_or_compute("k", failing)
        assert cache.get("k") is None
        own_server.ask("SET", "khronos:k", '"new"')
        when(lambda: cache.get("k") == "new")

    def test_never_what_another_has_dropped(self, make, one_place, mode):
        cache, other = (make(coherence=mode, stale_ttl=60) for _ in range(2))
        for number, (write, expected) in enumerate(
            ((lambda: other.delete("k"), None), (lambda: other.set("k", "new"), "new"), (lambda: other.clear(), None))
        ):
            cache.set("k", number)
            filled(cache, {"k": number})
            write()
            when(lambda expected=expected: cache.get("k") == expected)
            failing = Loader(Refused("no"))
            if expected is None:
                # Redis has been asked; of the last value the message tells, a moment later.
                when(lambda failing=failing: refuses(cache, failing))
            else:
                assert cache.get_or_compute("k", failing) == expected


def refuses(cache, loader):
    try:
        cache.get_or_compute("k", loader)
    except Refused:
        return True
    return False


BEGIN = """
import asyncio, gc, os, signal, sys, threading, time, traceback
from khronos_fast import AsyncTieredCache, RedisTier, TieredCache
url, mode, face = sys.argv[1:4]
signal.alarm(60)

def make():
    made = (AsyncTieredCache if face == "async" else TieredCache)(1000, url, coherence=mode)
    made.redis.timeout = made.redis._link.timeout = 5.0
    return made

def call(cache, name, *args):
    if face == "plain":
        return getattr(cache, name)(*args)
    async def run():
        return await getattr(cache, name)(*args)
    return asyncio.run(run())

def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "what had to come did not"
        time.sleep(0.002)

def has(cache, key, value):
    until(lambda: call(cache, "get", key) == value and key in cache.memory)

def child(function, *args):
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(60)
        function(*args)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
"""


@pytest.mark.parametrize("way", ["plain", "async"])
class TestForks:
    def test_both_hear(self, one_server, mode, way):
        run_script(
            BEGIN
            + """
cache, other = make(), make()
call(other, "set", "k", 1)
has(cache, "k", 1)
told, tell = os.pipe()
again, tell_again = os.pipe()

def hear():
    os.read(told, 1)
    assert call(cache, "get", "k") == 2, "the first read of a child is old"
    assert call(cache, "get", "k") == 2
    until(lambda: cache.stats().coherence.state == "up")
    has(cache, "k", 2)
    os.write(tell_again, b"x")
    until(lambda: call(cache, "get", "k") == 3)
    call(cache, "set", "l", "child's")
    assert call(cache, "get", "l") == "child's"
    call(cache, "close")
    assert not [each for each in threading.enumerate() if "coherence" in each.name]

pid = child(hear)
os.close(tell_again)
call(other, "set", "k", 2)
os.write(tell, b"x")
assert os.read(again, 1) == b"x"
has(cache, "k", 2)
call(other, "set", "k", 3)
until(lambda: call(cache, "get", "k") == 3)
assert os.waitpid(pid, 0)[1] == 0
assert call(cache, "get", "l") == "child's"
stats = cache.stats().coherence
assert stats.state == "up" and stats.resyncs == 0, stats
call(cache, "close")
call(other, "close")
""",
            one_server.url,
            mode,
            way,
        )
        when(lambda: not listening(one_server))

    def test_in_the_midst_of_messages(self, one_server, mode, way):
        """Whatever the listener was at, and whatever it held, at the moment of the fork."""
        run_script(
            BEGIN
            + """
import subprocess
cache = make()
call(cache, "set", "k", 0)
program = '''
import sys, time
from khronos_fast import TieredCache
with TieredCache(1000, sys.argv[1], coherence="pubsub") as cache:
    print("ready", flush=True)
    number = 0
    while True:
        number += 1
        cache.set("k", number)
        cache.invalidate("l*") if number % 50 == 0 else cache.set_many({f"l:{n}": number for n in range(20)})
'''
storm = subprocess.Popen([sys.executable, "-P", "-c", program, url], stdout=subprocess.PIPE)
storm.stdout.readline()

def read():
    before = call(cache, "get", "k")
    assert before is not None
    until(lambda: call(cache, "get", "k") > before)
    call(cache, "set", "m", os.getpid())
    assert call(cache, "get", "m") == os.getpid()
    call(cache, "close")

for turn in range(12):
    time.sleep(0.005 + turn * 0.001)
    call(cache, "get", "k")
    assert os.waitpid(child(read), 0)[1] == 0
storm.kill()
storm.wait()
storm.stdout.close()
stats = cache.stats().coherence
assert stats.resyncs == 0 and stats.messages > 10, stats
call(cache, "set", "k", "last")
has(cache, "k", "last")
call(cache, "close")
""",
            one_server.url,
            mode,
            way,
        )


class TestTheEnd:
    @pytest.mark.parametrize("state", ["idle", "down", "busy"])
    @pytest.mark.parametrize("way", ["plain", "async"])
    def test_an_interpreter_ends_at_once(self, own_server, mode, way, state):
        """With a cache that nobody has closed, whatever its listener is at."""
        source = (
            BEGIN
            + """
import logging
logging.getLogger("khronos_fast").addHandler(logging.NullHandler())
state, server = sys.argv[4], int(sys.argv[5])
cache = make()
call(cache, "set", "k", 1)
assert call(cache, "get", "k") == 1
if state == "down":
    os.kill(server, signal.SIGKILL)
    until(lambda: cache.stats().coherence.state == "down")
elif state == "busy":
    with TieredCache(10, url, coherence="pubsub") as other:
        for number in range(500):
            other.set_many({f"k:{n}": number for n in range(20)})
print(time.monotonic(), flush=True)
"""
        )
        done = run_script(source, own_server.url, mode, way, state, str(own_server.pid))
        assert time.monotonic() - float(done.stdout) < 5
        assert complaints(done) == ""
