"""Where a Redis is: URLs and clients taken apart, what of them is shown, and what a first look at the server says."""

import socket
import socketserver
import ssl
import subprocess
import threading
import time
import traceback

import pytest

redis = pytest.importorskip("redis")

import redis.asyncio  # noqa: E402, F811
from redis.credentials import UsernamePasswordCredentialProvider  # noqa: E402

from khronos_fast.tiers.address import Address  # noqa: E402
from khronos_fast.tiers.command import Command, Node  # noqa: E402
from khronos_fast.tiers.errors import RedisUnavailable, RedisURLError  # noqa: E402
from khronos_fast.tiers.link import Link  # noqa: E402

from .servers import Server, free_port  # noqa: E402
from .test_link import LONG, at_most, link, put  # noqa: E402, F401 - the fixture

SECRET = "s3cr/t@:word?#%"
ENCODED = "s3cr%2Ft%40%3Aword%3F%23%25"


# ---------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "node", "settings"),
    [
        ("redis://localhost", Node("localhost", 6379), {}),
        ("redis://cache.example:7000/", Node("cache.example", 7000), {}),
        ("redis://cache.example:7000/3", Node("cache.example", 7000), {"db": 3}),
        ("redis://cache.example/?db=3", Node("cache.example", 6379), {"db": 3}),
        ("REDIS://h?db=2", Node("h", 6379), {"db": 2}),
        (f"redis://:{ENCODED}@h/0", Node("h", 6379), {"password": SECRET, "db": 0}),
        (f"redis://ada:{ENCODED}@h", Node("h", 6379), {"username": "ada", "password": SECRET}),
        ("redis://a%40b:x@h", Node("h", 6379), {"username": "a@b", "password": "x"}),
        ("redis://h?username=ada&password=p%26w", Node("h", 6379), {"username": "ada", "password": "p&w"}),
        ("redis://[::1]:6380/1", Node("::1", 6380), {"db": 1}),
        ("redis://[fe80::1%25eth0]", Node("fe80::1%eth0", 6379), {}),
        ("redis://h?socket_timeout=5&max_connections=9&health_check_interval=1", Node("h", 6379), {}),
        (
            "redis://h?client_name=mine&socket_keepalive=no",
            Node("h", 6379),
            {"client_name": "mine", "socket_keepalive": False},
        ),
        ("rediss://h?ssl_cert_reqs=none", Node("h", 6379), {"tls": True, "ssl_cert_reqs": "none"}),
        (
            "rediss://h?ssl_ca_certs=/ca.pem&ssl_check_hostname=false&ssl_min_version=771",
            Node("h", 6379),
            {
                "tls": True,
                "ssl_ca_certs": "/ca.pem",
                "ssl_check_hostname": False,
                "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            },
        ),
        ("unix:///run/redis.sock", Node("/run/redis.sock", 0), {}),
        ("unix://:pw@/run/redis%20x.sock?db=1", Node("/run/redis x.sock", 0), {"password": "pw", "db": 1}),
    ],
)
def test_a_url_is_taken_apart(url, node, settings):
    address = Address.of(url)
    assert address.kind == "single"
    assert address.nodes == (node,)
    assert address.settings == settings
    for asynchronous in (False, True):
        options = address.options(node, asynchronous=asynchronous)
        assert options["protocol"] == 3
        assert options["decode_responses"] is False


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster"])
def test_a_url_of_a_cluster_names_some_nodes(scheme):
    address = Address.of(f"{scheme}://:pw@a:7000,b,[::1]:7002,a:7000/0")
    assert address.kind == "cluster"
    assert address.nodes == (Node("a", 7000), Node("b", 6379), Node("::1", 7002))
    assert address.settings.get("tls", False) is (scheme == "rediss+cluster")
    assert str(address) == f"{scheme}://:***@a:7000,b:6379,[::1]:7002"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost",
        "localhost:6379",
        "http://h",
        "redis:/h",
        "redis+sentinel://h",
        "sqlite:///x",
        "redis://",
        "redis:///0",
        "redis://:6379",
        "redis://:pw@",
        "redis://:pw@/0",
        "redis://h:port",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:-1",
        "redis://h:63 79",
        "redis://::1",
        "redis://[::1",
        "redis://h/zero",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/1.5",
        "redis://h/1?db=2",
        "redis://h?db=x",
        "redis://h?nonsense=1",
        "redis://h?db",
        "redis://h?=1",
        "redis://h?ssl_cert_reqs=none",
        "rediss://h?ssl_cert_reqs=perhaps",
        "rediss://h?ssl_min_version=x",
        "rediss://h?ssl_check_hostname=perhaps",
        "redis://h?socket_keepalive=2",
        "redis://a,b",
        "redis+cluster://a,,b",
        "redis+cluster://a/1",
        "redis+cluster://a?db=1",
        "redis://h%zz",
        "redis://:%ff@h",
        "redis://:a%00b@h",
        "redis://h\n",
        "unix://",
        "unix://relative.sock",
    ],
)
def test_a_url_that_is_none_is_refused_at_once(url):
    with pytest.raises(RedisURLError, match="wanted is redis://") as caught:
        Address.of(url)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:SECRET@h:port",
        "redis://ada:SECRET@",
        "redis://:SECRET/more@h",
        "redis://:SECRET@more@h",
        "redis://:SECRET#more@h",
        "redis://:SECRET more@h",
        "redis://:more%SECRET@h",
        "http://:SECRET@h",
        ":SECRET@h:6379",
        "redis://h:SECRET",
        "redis://h?password=SECRET&x=1",
        "rediss://h?ssl_password=SECRET&x=1",
        "redis+cluster://:SECRET@a,b:x",
        "redis://h/0?foo=SECRET",
        "redis://h/0?foo=bar&foo=SECRET",
        "redis://h/0?SECRET",
        "redis://h/0?db=SECRET",
        "rediss://h?ssl_cert_reqs=SECRET",
        "redis://h/0#SECRET",
        "redis://h#SECRET?x=1#SECRET",
        "redis://h/0?db=1#SECRET",
        "redis://h/0?x#SECRET",
        "unix:///x.sock?foo=SECRET#SECRET",
    ],
)
def test_a_refusal_does_not_show_the_password(url):
    with pytest.raises(RedisURLError) as caught:
        Address.of(url)
    text = "".join(traceback.format_exception(caught.value))
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in text.replace(url, "")


def test_what_is_shown_has_no_password():
    for url in (
        f"redis://ada:{ENCODED}@h/1",
        f"unix://:{ENCODED}@/x.sock?db=1",
        f"redis+cluster://:{ENCODED}@a,b",
        f"rediss://h?ssl_password={ENCODED}&password={ENCODED}",
    ):
        address = Address.of(url)
        for text in (repr(address), str(address), repr(Link(address))):
            assert SECRET not in text
            assert ENCODED not in text
    assert str(Address.of(f"redis://ada:{ENCODED}@h/1")) == "redis://ada:***@h:6379/1"
    assert str(Address.of("unix:///x.sock?db=1")) == "unix:///x.sock?db=1"


@pytest.mark.parametrize("source", [None, 1, b"redis://h", object(), socket.socket])
def test_what_is_neither_is_a_type_error(source):
    with pytest.raises(TypeError, match="a URL"):
        Address.of(source)


# ---------------------------------------------------------------------- clients


@pytest.fixture(params=["sync", "async"])
def module(request):
    return redis if request.param == "sync" else redis.asyncio


def test_a_client_lends_address_and_credentials(module):
    client = module.Redis(
        host="h", port=7000, db=2, username="ada", password="pw", client_name="mine",
        decode_responses=True, socket_timeout=99, health_check_interval=9, max_connections=3, protocol=2,
    )  # fmt: skip
    address = Address.of(client)
    assert address.kind == "single"
    assert address.nodes == (Node("h", 7000),)
    for asynchronous in (False, True):
        options = address.options(address.nodes[0], asynchronous=asynchronous)
        assert {name: options[name] for name in ("host", "port", "db", "username", "password", "client_name")} == {
            "host": "h", "port": 7000, "db": 2, "username": "ada", "password": "pw", "client_name": "mine",
        }  # fmt: skip
        assert options["decode_responses"] is False
        assert options["protocol"] == 3
        assert options["socket_timeout"] is None
        assert "retry" not in options


def test_a_client_from_a_pool_or_with_tls_or_a_socket(module):
    pool = module.BlockingConnectionPool.from_url("rediss://:pw@h:7000/1?ssl_cert_reqs=none")
    address = Address.of(module.Redis(connection_pool=pool))
    assert address.settings["tls"] is True
    assert address.settings["ssl_cert_reqs"] == "none"
    assert str(address) == "rediss://:***@h:7000/1"
    provider = UsernamePasswordCredentialProvider("ada", "pw")
    address = Address.of(module.Redis(unix_socket_path="/x.sock", credential_provider=provider))
    assert address.nodes == (Node("/x.sock", 0),)
    assert address.settings["credential_provider"] is provider


def test_connections_that_are_not_redis_pys_own_are_refused(module):
    class Own(module.Connection):
        def _connect(self):
            raise AssertionError

    client = module.Redis(connection_pool=module.ConnectionPool(connection_class=Own))
    with pytest.raises(TypeError, match="Own"):
        Address.of(client)


def test_a_client_of_replicas_is_refused(module):
    client = module.Sentinel([("h", 1)]).slave_for("mymaster") if module is redis else module.sentinel.Sentinel(
        [("h", 1)]
    ).slave_for("mymaster")  # fmt: skip
    with pytest.raises(RedisURLError, match="master_for"):
        Address.of(client)


@pytest.mark.parametrize("module_of_client", ["sync", "async"])
def test_clients_of_either_kind_serve_links_of_either_kind(link, one_server, module_of_client):  # noqa: F811
    module = redis if module_of_client == "sync" else redis.asyncio
    client = module.Redis(host=one_server.host, port=one_server.port, db=3, client_name="lent", decode_responses=True)
    one = link(client)
    assert one.ask([put(b"k", b"\xff"), Command(b"k", (b"GET", b"k")), Command(None, (b"CLIENT", b"GETNAME"))]) == [
        b"OK",
        b"\xff",
        b"lent",
    ]
    assert one_server.ask("GET", "k", db=3) == b"\xff"
    assert not client.connection_pool._get_in_use_connections()
    if module is redis:
        client.close()


def test_an_async_client_of_a_cluster(link, cluster):  # noqa: F811
    client = redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port)
    one = link(client)
    assert one.ask([put(b"%d" % number, b"v") for number in range(20)]) == [b"OK"] * 20


def test_a_client_of_a_cluster(link, cluster):  # noqa: F811
    with cluster.asked() as client:
        one = link(client)
        assert one.ask([put(b"%d" % number, b"v") for number in range(20)]) == [b"OK"] * 20


def test_addresses_that_work_from_elsewhere_are_remapped(link, cluster):  # noqa: F811
    asked = []

    def remap(place):
        asked.append(place)
        return ("127.0.0.1", place[1])

    with cluster.asked(address_remap=remap) as client:
        one = link(client)
        asked.clear()
        assert one.ask([put(b"%d" % number, b"v") for number in range(20)]) == [b"OK"] * 20
        assert asked


def test_an_async_client_of_sentinels(link, sentinels):  # noqa: F811
    one = link(sentinels.async_client())
    assert one.ask([put(b"k", b"v")]) == [b"OK"]


# ---------------------------------------------------------------------- a first look


def look(source, seconds=1.0):
    with at_most(seconds):
        Address.of(source).check(seconds)


def test_a_server_that_answers_is_good(server):
    look(server.url)
    look(server.url + "/3")
    look(server.url + "?client_name=x")


def test_a_database_that_is_not_there_is_said(one_server):
    with pytest.raises(RedisUnavailable, match="DB index is out of range"):
        look(one_server.url + "/99")


def test_credentials():
    with Server(password=SECRET) as server:
        server.ask("ACL", "SETUSER", "ada", "on", ">" + SECRET, "+@all", "~*", "&*")
        place = f"127.0.0.1:{server.port}"
        look(f"redis://:{ENCODED}@{place}")
        look(f"redis://ada:{ENCODED}@{place}")
        look(redis.Redis(port=server.port, credential_provider=UsernamePasswordCredentialProvider("ada", SECRET)))
        for wrong in ("", ":wrong-s3cret@", f"bob:{ENCODED}@", "ada@"):
            with pytest.raises(RedisUnavailable, match="credentials") as caught:
                look(f"redis://{wrong}{place}")
            told = "".join(traceback.format_exception(caught.value))
            assert "wrong-s3cret" not in told
            assert SECRET not in told


def test_nobody_there():
    with pytest.raises(RedisUnavailable, match="refused"):
        look(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(RedisUnavailable, match="refused"):
        look("unix:///nowhere/at/all.sock")
    with pytest.raises(RedisUnavailable, match=r"nobody\.invalid"):
        look("redis://nobody.invalid")
    with pytest.raises(RedisUnavailable, match="cluster"):
        look(f"redis+cluster://127.0.0.1:{free_port()}")


def test_a_black_hole(proxy):
    proxy.blackholing()
    with pytest.raises(RedisUnavailable, match=r"no answer within 0\.4 s"):
        look(proxy.url, 0.4)


class Web(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(1000)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_something_else_than_a_redis():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with pytest.raises(RedisUnavailable, match="does not talk as a Redis does"):
            look(f"redis://127.0.0.1:{server.server_address[1]}")
        server.shutdown()
        thread.join()


def test_a_sentinel_is_said_to_be_one(sentinels):
    with pytest.raises(RedisURLError, match="master_for"):
        look(sentinels.sentinels[0].url)


def test_sentinels_that_look_after_it(sentinels):
    look(sentinels.client())
    look(sentinels.async_client())
    with pytest.raises(RedisUnavailable, match="sentinel"):
        look(sentinels.sentinel_client().master_for("nobody"))


def test_a_replica_is_said_to_be_one(sentinels):
    with pytest.raises(RedisUnavailable, match="replica"):
        look(sentinels.replica.url)


def test_a_cluster_is_found_out(cluster):
    address = Address.of(cluster.url)
    address.check()
    assert address.kind == "cluster"
    assert "redis+cluster" in str(address)
    look(cluster.cluster_url)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"-ERR unknown command 'HELLO', with args beginning with: '3'\r\n", "older"),
        (b"%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n6.2.1\r\n", r"6\.2\.1"),
    ],
)
def test_a_redis_that_is_too_old_is_said_to_be(proxy, answer, said):
    proxy.answering(answer)
    with pytest.raises(RedisUnavailable, match=said):
        look(proxy.url)


# ---------------------------------------------------------------------- TLS, sockets, IPv6


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("openssl is needed")
    return folder


@pytest.fixture
def behind_tls(certificate, proxy):
    """Takes TLS off, and passes on what is in it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    class Pass(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                inner = context.wrap_socket(self.request, server_side=True)
            except OSError:
                return
            with inner, socket.create_connection(("127.0.0.1", proxy.port)) as upstream:

                def back():
                    try:
                        while data := upstream.recv(1 << 16):
                            inner.sendall(data)
                    except OSError:
                        pass

                thread = threading.Thread(target=back, daemon=True)
                thread.start()
                try:
                    while data := inner.recv(1 << 16):
                        upstream.sendall(data)
                except OSError:
                    pass
                upstream.close()

    class Threading(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Threading(("127.0.0.1", 0), Pass) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_tls(link, certificate, behind_tls):  # noqa: F811
    one = link(f"rediss://localhost:{behind_tls}?ssl_ca_certs={certificate}/cert.pem")
    large = bytes(3_000_000)
    assert one.ask([put(b"k", large), Command(b"k", (b"GET", b"k"))]) == [b"OK", large]
    for _ in range(20):
        one.ping()
    client = redis.Redis(port=behind_tls, ssl=True, ssl_ca_certs=f"{certificate}/cert.pem")
    link(client).ping()


def test_tls_has_a_budget_too(link, certificate, behind_tls, proxy):  # noqa: F811
    one = link(f"rediss://localhost:{behind_tls}?ssl_ca_certs={certificate}/cert.pem", timeout=0.4)
    one.ping()
    for spoil in (proxy.blackholing, lambda: proxy.dripping(0.1)):
        spoil()
        with at_most(0.4), pytest.raises(RedisUnavailable, match="no answer"):
            one.ask([put(b"k", b"v"), Command(b"k", (b"GET", b"k"))] * 5)
        proxy.passing()


def test_tls_that_does_not_fit(certificate, behind_tls, one_server):
    look(f"rediss://localhost:{behind_tls}?ssl_ca_certs={certificate}/cert.pem")
    with pytest.raises(RedisUnavailable, match=r"redis://"):
        look(f"rediss://localhost:{one_server.port}")
    with pytest.raises(RedisUnavailable, match=r"rediss://"):
        look(f"redis://localhost:{behind_tls}")
    with pytest.raises(RedisUnavailable, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
        look(f"rediss://localhost:{behind_tls}")


def test_a_unix_socket(link, tmp_path):  # noqa: F811
    path = tmp_path / "redis.sock"
    with Server(password="pw", options=["--unixsocket", path]) as _:
        one = link(f"unix://:pw@{path}?db=1")
        assert one.ask([put(b"k", b"v"), Command(b"k", (b"GET", b"k"))]) == [b"OK", b"v"]
        look(f"unix://:pw@{path}")
        with pytest.raises(RedisUnavailable, match="credentials"):
            look(f"unix://{path}")


def test_ipv6(link):  # noqa: F811
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with Server(options=["--bind", "127.0.0.1 ::1"]) as server:
        link(f"redis://[::1]:{server.port}").ping()
        look(f"redis://[::1]:{server.port}")


def test_a_name_with_several_addresses(link, one_server):  # noqa: F811
    """`localhost` is ::1 too, where nobody listens."""
    link(f"redis://localhost:{one_server.port}", timeout=LONG).ping()


def test_a_look_takes_no_longer_than_it_may():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        began = time.monotonic()
        with pytest.raises(RedisUnavailable, match="no answer"):
            look(f"redis://127.0.0.1:{listener.getsockname()[1]}", 0.3)
        assert time.monotonic() - began >= 0.25
