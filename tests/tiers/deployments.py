"""A Redis Cluster of three primaries, and a primary with replica and Sentinels: as small and as quick as they come."""

import contextlib
import time

from .servers import PATIENCE, Server, free_port, redis, when

SLOTS = 16384
# Of Sentinels, in milliseconds. Five pings is how recently a replica must have been heard to be taken for a primary.
PERIODS = {"ping": 300, "info": 100, "ask": 100, "publish": 100}
NODE_TIMEOUT = 2000  # milliseconds


class Node(Server):
    """A server of a cluster."""

    def __init__(self, binary=None, *, port=None, announce=None, **options):
        self.bus = free_port()
        more = [
            *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", self.bus),
            *("--cluster-node-timeout", NODE_TIMEOUT, "--cluster-require-full-coverage", "no"),
            *("--cluster-allow-replica-migration", "no", "--cluster-replica-validity-factor", 0),
        ]
        if announce:
            more += ["--cluster-announce-port", announce]
        super().__init__(binary, port=port, options=more, **options)
        self.announced = announce or self.port

    @property
    def id(self):
        return self.ask("CLUSTER", "MYID").decode()

    def info(self):
        text = self.ask("CLUSTER", "INFO")
        text = text.decode() if isinstance(text, bytes) else text
        if isinstance(text, dict):
            return text
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def agrees(self, known):
        try:
            info = self.info()
        except (redis.RedisError, OSError):
            return False
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) >= known


class Cluster:
    """Primaries that share the slots evenly. With `through`, clients are told of the ports of proxies instead."""

    def __init__(self, primaries=3, binary=None, *, through=None):
        self.nodes, self.proxies = [], []
        self.binary, self.through = binary, through
        try:
            for _ in range(primaries):
                self._new()
            each = SLOTS // primaries
            for number, node in enumerate(self.nodes):
                last = SLOTS - 1 if number == primaries - 1 else (number + 1) * each - 1
                node.ask("CLUSTER", "ADDSLOTSRANGE", number * each, last)
                node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            for node in self.nodes[1:]:
                self._meet(node)
            self.wait_until_all_agree()
        except BaseException:
            self.close()
            raise

    def _new(self):
        port = free_port()
        announce = None
        if self.through is not None:
            proxy = self.through("127.0.0.1", port)
            self.proxies.append(proxy)
            announce = proxy.port
        node = Node(self.binary, port=port, announce=announce).start()
        self.nodes.append(node)
        return node

    def _meet(self, node):
        first = self.nodes[0]
        node.ask("CLUSTER", "MEET", first.host, first.port, first.bus)

    def wait_until_all_agree(self):
        nodes = [node for node in self.nodes if node.running and not node.paused]
        when(
            lambda: all(node.agrees(len(nodes)) for node in nodes), "the nodes of the cluster do not agree", every=0.02
        )

    @property
    def url(self):
        """A URL of redis-py, which has no scheme for clusters: one of the nodes."""
        return f"redis://127.0.0.1:{self.nodes[0].announced}"

    @property
    def cluster_url(self):
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.announced}" for node in self.nodes)

    def client(self, **options):
        return redis.RedisCluster("127.0.0.1", self.nodes[0].announced, **options)

    @contextlib.contextmanager
    def asked(self, **options):
        """A client of the whole cluster for one `with`."""
        node = next(node for node in self.nodes if node.running and not node.paused)
        client = redis.RedisCluster("127.0.0.1", node.port, **options)
        try:
            yield client
        finally:
            client.close()

    def primaries(self):
        """The nodes that are primaries with slots, as the first one that answers sees it."""
        table = self.table()
        owners = {owner for _, _, owner in table}
        return [node for node in self.nodes if node.announced in owners]

    def table(self):
        """[(first slot, last slot, port of the primary)]"""
        node = next(node for node in self.nodes if node.running and not node.paused)
        return [(int(first), int(last), int(primary[1])) for first, last, primary, *_ in self._slots(node)]

    def _slots(self, node):
        with node.asked(protocol=2) as client:
            connection = client.connection_pool.get_connection()
            try:
                connection.send_command("CLUSTER", "SLOTS")
                return connection.read_response()
            finally:
                client.connection_pool.release(connection)

    def node_of(self, slot):
        """The primary that has this slot."""
        port = next(port for first, last, port in self.table() if first <= slot <= last)
        return next(node for node in self.nodes if node.announced == port)

    def slot_of(self, key):
        return int(self.nodes[0].ask("CLUSTER", "KEYSLOT", key))

    def holding(self, key):
        return self.node_of(self.slot_of(key))

    def move(self, slot, target=None):
        """Give the slot, and what is in it, to another primary; who asks the old one is told MOVED."""
        source = self.node_of(slot)
        others = [node for node in self.primaries() if node is not source]
        target = target or others[0]
        with self.moving(slot, target):
            self._migrate_keys(slot, source, target)
        return target

    def _migrate_keys(self, slot, source, target):
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            source.ask("MIGRATE", target.host, target.port, "", 0, 5000, "REPLACE", "KEYS", *keys)

    @contextlib.contextmanager
    def moving(self, slot, target):
        """The slot is on its way: keys that have gone, or never were, are asked for at the target (ASK)."""
        source = self.node_of(slot)
        source_id, target_id = source.id, target.id
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        yield
        self._migrate_keys(slot, source, target)
        for node in (target, source, *(node for node in self.primaries() if node not in (source, target))):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def add_replica(self, primary=None):
        primary = primary or self.nodes[0]
        replica = self._new()
        known = len([node for node in self.nodes if node.running])
        self._meet(replica)
        when(lambda: int(replica.info()["cluster_known_nodes"]) >= known, "the replica knows not all", every=0.02)
        primary_id = primary.id

        def replicates():
            try:
                replica.ask("CLUSTER", "REPLICATE", primary_id)
            except redis.ResponseError:  # it has not heard of that node yet
                return False
            return True

        when(replicates, "the replica does not know its primary", every=0.05)
        when(lambda: self._linked(replica), "the replica is not in step", every=0.05)
        replica_id = replica.id
        others = [node for node in self.nodes if node is not replica and node.running]
        when(lambda: all(self._sees(node, replica_id) for node in others), "not all know the replica", every=0.05)
        return replica

    @staticmethod
    def _sees(node, replica_id):
        lines = node.ask("CLUSTER", "NODES")
        return replica_id in str(lines) and "slave" in str(lines)

    @staticmethod
    def _linked(replica):
        with replica.asked() as client:
            return client.info("replication").get("master_link_status") == "up"

    def fail_over(self, replica, how="TAKEOVER"):
        """The replica takes the place of its primary, which may be dead: as a fail-over ends, without its waits."""
        replica.ask("CLUSTER", "FAILOVER", how)
        when(lambda: replica in self.primaries_of(replica), "no fail-over", every=0.02)
        others = [node for node in self.nodes if node.running and not node.paused]
        when(
            lambda: all(replica in self.primaries_of(node) for node in others), "not all saw the fail-over", every=0.02
        )

    def primaries_of(self, node):
        ports = {int(primary[1]) for _, _, primary, *_ in self._slots(node)}
        return [each for each in self.nodes if each.announced in ports]

    def empty(self):
        for node in self.primaries():
            node.empty()

    def calls(self):
        """The calls of each command, over all nodes."""
        total = {}
        for node in self.nodes:
            if node.running:
                for name, count in node.calls().items():
                    total[name] = total.get(name, 0) + count
        return total

    def reset_calls(self):
        for node in self.nodes:
            node.reset_calls()

    def keys(self, pattern="*"):
        return sorted(key for node in self.primaries() for key in node.keys(pattern))

    def close(self):
        for node in self.nodes:
            node.close()
        for proxy in self.proxies:
            proxy.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def _flags(replicas):
    """The flags of all replicas that a Sentinel knows, whatever form redis-py gives the answer."""
    for replica in replicas:
        if not isinstance(replica, dict):
            replica = dict(zip(replica[::2], replica[1::2], strict=True))
        flags = replica.get("flags", replica.get(b"flags", ""))
        if isinstance(flags, bytes):
            flags = flags.decode()
        yield from flags if isinstance(flags, (set, list)) else flags.split(",")


class Sentinels:
    """A primary, a replica, and three Sentinels that notice within a second when the primary is gone."""

    NAME = "mymaster"

    def __init__(self, binary=None, *, down_after=500):
        self.servers, self.sentinels = [], []
        self._clients = []
        try:
            self.primary = self._add(Server(binary, options=["--repl-backlog-size", "1mb"]))
            host, port = self.primary.host, self.primary.port
            self.replica = self._add(
                Server(binary, options=["--replicaof", f"{host} {port}", "--replica-priority", "10"])
            )
            when(lambda: Cluster._linked(self.replica), "the replica is not in step", every=0.02)
            self.sentinels = [Server(binary, sentinel=True) for _ in range(3)]
            names = {sentinel: f"{number:040x}" for number, sentinel in enumerate(self.sentinels, 1)}
            for sentinel in self.sentinels:
                # They are told at once what they would find out in some seconds.
                others = [other for other in self.sentinels if other is not sentinel]
                configuration = [
                    f"port {sentinel.port}",
                    f"bind {host}",
                    f"dir {sentinel.folder}",
                    f"sentinel monitor {self.NAME} {host} {port} 2",
                    f"sentinel down-after-milliseconds {self.NAME} {down_after}",
                    f"sentinel failover-timeout {self.NAME} 1000",
                    f"sentinel parallel-syncs {self.NAME} 1",
                    f"sentinel myid {names[sentinel]}",
                    f"sentinel known-replica {self.NAME} {host} {self.replica.port}",
                    *(f"sentinel known-sentinel {self.NAME} {host} {other.port} {names[other]}" for other in others),
                ]
                (sentinel.folder / "sentinel.conf").write_text("\n".join(configuration) + "\n", "utf-8")
                sentinel.start(wait=False)
            for sentinel in self.sentinels:
                sentinel.wait_until_it_answers()
                # Oftener than every second, or half a second's silence would be one that nobody had heard.
                sentinel.ask(
                    "SENTINEL",
                    "DEBUG",
                    *(word for name, period in PERIODS.items() for word in (f"{name}-period", period)),
                )
            when(self._know_each_other, "the Sentinels do not know each other", every=0.02)
        except BaseException:
            self.close()
            raise

    def _add(self, server):
        self.servers.append(server)
        return server.start()

    def _know_each_other(self):
        for sentinel in self.sentinels:
            with sentinel.asked() as client:
                state = client.info("sentinel")["master0"]
                if state["sentinels"] != 3 or state["slaves"] < 1 or state["status"] != "ok":
                    return False
                replicas = client.execute_command("SENTINEL", "REPLICAS", self.NAME)
                if any("down" in flag or flag == "disconnected" for flag in _flags(replicas)):
                    return False
        return Cluster._linked(self.replica)

    def recover(self):
        """After a fail-over: the old primary runs again, as the replica of the new one."""
        if not self.replica.running:
            self.replica.start()
        # The Sentinels would do it as well, ten seconds later.
        self.replica.ask("REPLICAOF", self.primary.host, self.primary.port)
        when(self._know_each_other, "the Sentinels and their servers are not well again", every=0.02)

    def sentinel_client(self, **options):
        """redis-py's own. What it asks the Sentinels with is closed here, as nobody else does it."""
        client = redis.Sentinel(
            [(sentinel.host, sentinel.port) for sentinel in self.sentinels],
            socket_timeout=1,
            sentinel_kwargs={"socket_timeout": 1},
            **options,
        )
        self._clients += client.sentinels
        return client

    def client(self, **options):
        return self.sentinel_client(**options).master_for(self.NAME)

    def async_client(self, **options):
        import redis.asyncio

        sentinel = redis.asyncio.Sentinel(
            [(sentinel.host, sentinel.port) for sentinel in self.sentinels],
            socket_timeout=1,
            sentinel_kwargs={"socket_timeout": 1},
            **options,
        )
        return sentinel.master_for(self.NAME)

    def primary_port(self, sentinel=None):
        answer = (sentinel or self.sentinels[0]).ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)
        return int(answer[1])

    def fail_over(self, *, kill=True):
        """The primary dies, or only hangs for a while (`kill=False`), and the replica is the primary now."""
        old, new = self.primary, self.replica
        began = time.monotonic()
        old.kill() if kill else old.pause()
        when(
            lambda: all(self.primary_port(sentinel) == new.port for sentinel in self.sentinels),
            "no fail-over",
            seconds=2 * PATIENCE,
            every=0.02,
        )
        when(lambda: new.ask("ROLE")[0] == b"master", "the replica is no primary", every=0.02)
        self.primary, self.replica = new, old
        if not kill:
            old.resume()
            self.recover()
        return time.monotonic() - began

    def calls(self):
        return self.primary.calls()

    def empty(self):
        self.primary.empty()

    def keys(self, pattern="*"):
        return self.primary.keys(pattern)

    def close(self):
        for each in [*self._clients, *self.sentinels, *self.servers]:
            each.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
