"""Tiered caches on one Redis, in several processes, which hear of each other, while the way there is full of faults.

Every key has one writer, in one of the processes; all read it. What this process has written, it may never see older.
What another one has written may be older for a second; and while the weather is bad, and for a while after that, up to
what an entry's time to live allows.
"""

import asyncio
import time

from khronos_fast import AsyncTieredCache, CodecError, RedisUnavailable, TieredCache

from .ledger import Ledger
from .part import Part, Player, TaskPart, chance
from .values import fault_of, make
from .weather import Weather

KEYS = 40  # of each player
TTL, MEMORY_TTL, STALE_TTL = 20.0, 5.0, 10.0
PROMISED = 1.0  # seconds for which others may see the older value
SLACK = 0.25  # a clock is read before and after
# Seconds after bad weather: a breaker closes (2), what could not be deleted is, and a silent link is found out (3).
RECOVERY = 10.0
# Never longer than this, whatever the weather.
AT_MOST = TTL + MEMORY_TTL + STALE_TTL + RECOVERY


class Refused(Exception):
    """What a loader raises that fails on purpose."""


class Moves:
    """What a turn is, for both kinds: a generator of calls, as tuples (method's name, arguments, options)."""

    def set_up(self, process, processes, folder):
        self.per_process = len(self.players)
        self.first = process * self.per_process  # of all players, everywhere
        everybody = processes * self.per_process
        self.keys = KEYS * everybody
        self.ledger = Ledger(self.keys, f"{folder}/{self.name}")
        self.weather = Weather(f"{folder}/weather")
        self.stalest = 0.0  # seconds, in calm weather
        self.judged = 0  # reads of what others have written, in calm weather
        self.troubles = 0

    def moves(self, player):
        yield from player.rng.choices(
            (self.read, self.load, self.many, self.write, self.forget, self.look_around), (20, 55, 5, 12, 6, 2)
        )[0](player)

    # Keys: each player writes his own

    def any_key(self, player):
        return int(self.keys * player.rng.random() ** 2 + self.first * KEYS) % self.keys

    def own_keys(self, player):
        first = (self.first + player.number) * KEYS
        return range(first, first + KEYS)

    def own_key(self, player):
        return player.rng.choice(self.own_keys(player))

    # What is read

    def before(self, key):
        """What has to be known of a key before it is read."""
        writer = key // KEYS - self.first
        mine = 0 <= writer < self.per_process
        return key, self.ledger.floor(key) if mine else None, self.weather.calm_since, time.monotonic_ns()

    def check(self, player, known, value):
        key, floor, calm_since, began = known
        fault = fault_of(value, key, floor or 0, self.ledger.truth(key))
        if fault is None and floor is None:
            fault = self.too_old(key, value["number"], calm_since, began)
        player.expect(fault is None, fault)

    def too_old(self, key, number, calm_since, began):
        recovered = calm_since + int(RECOVERY * 1e9)
        is_calm = calm_since > 0 and began > recovered
        self.judged += is_calm
        overtaken = self.ledger.overtaken(key, number)
        if overtaken is None or overtaken >= began:
            return None
        age, limit = (began - overtaken) / 1e9, AT_MOST
        if is_calm:
            age, limit = (began - max(overtaken, recovered)) / 1e9, PROMISED + SLACK
            self.stalest = max(self.stalest, age)
        return f"key {key}: {number} is another process's, {age:.2f} s after it was overtaken" if age > limit else None

    def read(self, player):
        known = self.before(self.any_key(player))
        value = yield "get", (name_of(known[0]),), {}
        if value is not None:
            self.check(player, known, value)

    def load(self, player):
        known = self.before(self.any_key(player))
        try:
            value = yield "get_or_compute", (name_of(known[0]), self.loader(player, known[0])), {}
        except Refused:
            return
        self.check(player, known, value)

    def many(self, player):
        known = {name_of(key): self.before(key) for key in (self.any_key(player) for _ in range(8))}
        for name, value in (yield "get_many", (list(known),), {}).items():
            self.check(player, known[name], value)

    # What is written

    def write(self, player):
        if chance(player.rng, 0.1):
            chosen = player.rng.sample(self.own_keys(player), 5)
            numbers = {key: self.ledger.begin(key) for key in chosen}
            yield "set_many", ({name_of(key): make(key, number) for key, number in numbers.items()},), {}
        else:
            key = self.own_key(player)
            numbers = {key: self.ledger.begin(key)}
            if chance(player.rng, 0.1):
                try:
                    yield "refresh", (name_of(key), self.loader(player, key)), {}
                except Refused:  # what was cached stays
                    yield "delete", (name_of(key),), {}
            else:
                yield "set", (name_of(key), make(key, numbers[key])), {"ttl": player.rng.choice((1, 5, ...))}
        self.done(numbers)

    def forget(self, player):
        rng = player.rng
        own = self.own_keys(player)
        if chance(rng, 0.1):
            keys = own
            pattern = rng.choice(("{}:*", "{}:[0-9]*")).format(own[0] // KEYS)
            call = "invalidate", (pattern,), {}
        elif chance(rng, 0.2):
            keys = rng.sample(own, 5)
            call = "delete_many", ([name_of(key) for key in keys],), {}
        else:
            keys = [rng.choice(own)]
            call = "delete", (name_of(keys[0]),), {}
        numbers = {key: self.ledger.begin(key) for key in keys}
        yield call
        self.done(numbers)

    def done(self, numbers):
        """These have been written; if Redis was not told, the others can't know yet."""
        redis = self.cache.redis.stats()
        troubles = redis.failures + redis.refusals
        if troubles != self.troubles or redis.deletions_remembered:
            self.troubles = troubles
            self.weather.trouble()
        for key, number in numbers.items():
            self.ledger.done(key, number)

    def look_around(self, player):
        try:
            yield "set", (f"odd:{player.number}", object()), {}
            player.report("what no codec takes was stored")
        except CodecError:
            pass
        stats = self.cache.stats()
        player.expect(stats.redis.deletions_forgotten == 0, f"deletions were forgotten: {stats.redis}")
        repr(self.cache)

    def live(self):
        cache = getattr(self, "cache", None)
        if cache is None:
            return {}
        stats = cache.stats()
        return {
            "entries": stats.memory.size,
            "remembered": stats.redis.deletions_remembered,
            "judged": self.judged,
            "stalest_ms": round(1000 * self.stalest),
        }

    def settings(self, coherence):
        name = self.name.replace(" ", "-")
        return {"namespace": f"soak-{name}", "ttl": TTL, "memory_ttl": MEMORY_TTL, "coherence": coherence, "name": name}


class Tiers(Moves, Part):
    name = "tiers"

    def __init__(self, seed, url, process, processes, folder, players=3):
        super().__init__(f"{seed} {process}", players)
        self.set_up(process, processes, folder)
        self.cache = patiently(TieredCache, self.keys // 2, url, **self.settings("pubsub"))

    def loader(self, player: Player, key):
        def load():
            number = self.ledger.truth(key)
            if chance(player.rng, 0.02):
                raise Refused
            if chance(player.rng, 0.1):
                time.sleep(0.005)
            return make(key, number)

        return load

    def turn(self, player):
        moves = self.moves(player)
        step = next(moves, None)
        while step is not None:
            method, args, options = step
            try:
                answer = player.call(getattr(self.cache, method), *args, **options)
            except Exception as error:
                step = _next(moves.throw, error)
            else:
                step = _next(moves.send, answer)

    def end(self):
        self.cache.close()


class TaskTiers(Moves, TaskPart):
    name = "async tiers"

    def __init__(self, seed, url, process, processes, folder, players=4):
        super().__init__(f"{seed} {process}", players)
        self.set_up(process, processes, folder)
        self.url = url

    async def open(self):
        options = self.settings("tracking") | {"lease": 1.0, "beta": 1.0, "stale_ttl": STALE_TTL}
        self.cache = patiently(AsyncTieredCache, self.keys // 2, self.url, **options)

    def loader(self, player: Player, key):
        async def load():
            number = self.ledger.truth(key)
            if chance(player.rng, 0.02):
                raise Refused
            if chance(player.rng, 0.1):
                await asyncio.sleep(0.005)
            return make(key, number)

        return load

    async def turn(self, player):
        moves = self.moves(player)
        step = next(moves, None)
        while step is not None:
            method, args, options = step
            try:
                answer = await player.wait(getattr(self.cache, method)(*args, **options))
            except Exception as error:
                step = _next(moves.throw, error)
            else:
                step = _next(moves.send, answer)

    async def close(self):
        await self.cache.close()


def _next(go_on, what):
    try:
        return go_on(what)
    except StopIteration:
        return None


def patiently(make, *args, **options):
    """Where it begins, Redis has to be there; on a machine that is busy with others it may need another moment."""
    for _ in range(20):
        try:
            return make(*args, **options)
        except RedisUnavailable:
            time.sleep(0.5)
    return make(*args, **options)


def name_of(key):
    return f"{key // KEYS}:{key % KEYS}"
