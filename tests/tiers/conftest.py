"""The servers that these tests run against. Each kind starts once, when it is first needed, and is emptied per test."""

import pytest

from .servers import BINARIES, NEEDED, Server, stop_all


@pytest.fixture(scope="session", autouse=True)
def no_server_is_left():
    yield
    stop_all()


def need_a_server():
    if not BINARIES:
        pytest.skip(NEEDED)


@pytest.fixture(scope="session")
def _servers():
    """Those that live as long as the tests: {what: server}."""
    running = {}
    yield running
    for server in running.values():
        server.close()


def _shared(servers, kind, make):
    need_a_server()
    if kind not in servers:
        servers[kind] = make()
    return servers[kind]


@pytest.fixture(params=list(BINARIES) or ["valkey"])
def server(request, _servers):
    """An empty server, of each kind that this machine has. (Who stops it has to start it again: use `own_server`.)"""
    server = _shared(_servers, request.param, lambda: Server(request.param).start())
    server.empty()
    return server


@pytest.fixture
def one_server(_servers):
    """An empty server of one kind, for what is not about servers."""
    need_a_server()
    kind = next(iter(BINARIES))
    server = _shared(_servers, kind, lambda: Server(kind).start())
    server.empty()
    return server


@pytest.fixture
def own_server():
    """A server of the test's own, which it may stop, kill, pause and restart; what it holds survives that."""
    need_a_server()
    with Server(persistent=True) as server:
        yield server


@pytest.fixture
def proxy(one_server):
    """A proxy in front of the server, which passes everything on until it is told otherwise."""
    from .proxy import Proxy

    with Proxy("127.0.0.1", one_server.port) as proxy:
        yield proxy


@pytest.fixture
def cluster(_servers):
    """An empty cluster of three primaries. (Its slots may have moved: tests that fail one over use `own_cluster`.)"""
    from .deployments import Cluster

    cluster = _shared(_servers, "cluster", Cluster)
    cluster.empty()
    return cluster


@pytest.fixture
def own_cluster():
    from .deployments import Cluster

    need_a_server()
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def sentinels(_servers):
    """A primary, its replica and three Sentinels. Tests may fail over once and more: each ends with all running."""
    from .deployments import Sentinels

    sentinels = _shared(_servers, "sentinels", Sentinels)
    sentinels.empty()
    return sentinels


@pytest.fixture
def own_sentinels():
    from .deployments import Sentinels

    need_a_server()
    with Sentinels() as sentinels:
        yield sentinels


# What the tests of the caches themselves share


@pytest.fixture(params=["sync", "async"])
def face(request):
    from .support import Face

    face = Face(request.param)
    yield face
    face.close()


@pytest.fixture(scope="session")
def _clients():
    """redis-py's own clients, one for each deployment that lives as long as the tests."""
    clients = {}
    yield clients
    for client in clients.values():
        client.close()


def place_of(request, kind):
    from .support import Place

    clients = request.getfixturevalue("_clients")
    servers = request.getfixturevalue("_servers")
    if kind == "one server":
        need_a_server()
        kind = next(iter(BINARIES))
    if kind in ("valkey", "redis"):
        if kind not in BINARIES:
            pytest.skip(NEEDED)
        deployment = _shared(servers, kind, lambda: Server(kind).start())
        given = deployment.url
    elif kind == "cluster":
        deployment = request.getfixturevalue("cluster")
        given = deployment.cluster_url
    else:
        deployment = request.getfixturevalue("sentinels")
        given = deployment.client()
        if "face" in request.fixturenames and request.getfixturevalue("face").asynchronous:
            given = deployment.async_client()
    deployment.empty()
    if kind not in clients:
        clients[kind] = deployment.client()
    if kind != "cluster":  # a client opens its connection again when it is used again, that of a cluster does not
        request.addfinalizer(clients[kind].close)
    return Place(kind, deployment, given, clients[kind])


@pytest.fixture(params=[*(list(BINARIES) or ["valkey"]), "cluster", "sentinel"])
def place(request):
    """An empty Redis of each kind."""
    return place_of(request, request.param)


@pytest.fixture
def one_place(request):
    """An empty Redis that is one server."""
    return place_of(request, "one server")


@pytest.fixture(params=["nowhere", *(list(BINARIES) or ["valkey"]), "cluster", "sentinel"])
def tiers(request):
    """An empty Redis of each kind, or none: then `place` is None."""
    from .support import NOWHERE

    return NOWHERE if request.param == "nowhere" else place_of(request, request.param)


@pytest.fixture
def make(face, request):
    """Make a cache; by default on the Redis that the test is about, if it is about one."""
    default = None
    for name in ("tiers", "place", "one_place"):
        if name in request.fixturenames:
            default = request.getfixturevalue(name).redis

    def make(memory=1000, redis=default, **options):
        cache = face.make(memory, redis, **options)
        if redis is default and default is not None:
            # Such a test is not about time, and the machine may be busy with others.
            cache.real.redis.timeout = cache.real.redis._link.timeout = 5.0
        return cache

    return make
