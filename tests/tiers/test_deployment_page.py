"""What docs/deployment.md says about Redis: its rights are enough, and so is its configuration."""

import re
from pathlib import Path

import pytest

from .support import Loader, when

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()


def the_rights():
    [line] = re.findall(r"^ACL SETUSER .*$", PAGE, re.MULTILINE)
    return line.split()


@pytest.mark.parametrize("mode", [None, "pubsub", "tracking"])
def test_the_rights_are_enough(own_server, face, mode, monkeypatch):
    from khronos_fast import RedisTier

    # No failure is to be counted because the machine does much else.
    monkeypatch.setitem(RedisTier.__init__.__kwdefaults__, "timeout", 10.0)
    own_server.ask(*the_rights())
    url = f"redis://shop:secret@127.0.0.1:{own_server.port}"
    options = {"namespace": "shop", "coherence": mode, "stale_ttl": 60, "lease": 1, "beta": 1.0}
    with face.make(100, url, **options) as cache:
        cache.set("k", {1, 2})
        assert cache.get("k") == {1, 2}
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
        assert cache.get_or_compute("loaded", Loader("value")) == "value"
        assert cache.refresh("loaded", Loader("another")) == "another"
        with pytest.raises(ZeroDivisionError):
            cache.get_or_compute("failing", lambda: 1 / 0)
        assert cache.delete("a")
        assert cache.delete_many(["b"]) == 1
        assert cache.invalidate("l*") >= 1
        cache.clear()
        stats = cache.stats()
        assert stats.redis.refusals == stats.redis.failures == 0
        if mode is not None:
            when(lambda: cache.stats().coherence.connected)
            assert cache.stats().coherence.publish_failures == 0


def test_nothing_else_is_allowed(own_server):
    """Neither others' keys and channels, nor what could harm others."""
    own_server.ask(*the_rights())
    import redis

    client = redis.Redis(port=own_server.port, username="shop", password="secret")
    for refused in (["GET", "other:k"], ["PUBLISH", "other", "m"], ["FLUSHALL"], ["KEYS", "*"], ["CONFIG", "GET", "*"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*refused)
    client.close()


def test_the_configuration_is_taken(own_server):
    block = re.search(r"```\n(maxmemory .*?)```", PAGE, re.DOTALL)[1]
    for line in block.splitlines():
        name, _, value = line.partition(" ")
        own_server.ask("CONFIG", "SET", name, value)
