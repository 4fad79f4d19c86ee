"""The servers that examples name: what stands in for an address is a real one."""

import pytest
from databases.conftest import server as postgres_server  # noqa: F401
from tiers.servers import BINARIES, NEEDED, Server


@pytest.fixture(scope="module")
def redis_server():
    if not BINARIES:
        pytest.skip(NEEDED)
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def redis_cluster():
    if not BINARIES:
        pytest.skip(NEEDED)
    from tiers.deployments import Cluster

    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def address_of(request, monkeypatch):
    """Return a function: the address of a fresh server of a kind."""

    def address_of(kind):
        match kind:
            case "redis":
                server = request.getfixturevalue("redis_server")
                server.empty()
            case "cluster":
                server = request.getfixturevalue("redis_cluster")
                server.empty()
                return server.cluster_url
            case "postgres":
                server = request.getfixturevalue("postgres_server")
                database = server.database()
                request.addfinalizer(lambda: database.__exit__(None, None, None))
                return server.url_of(database.__enter__())
        return server.url

    return address_of
