"""The memory cache: every method, times to live, weights, patterns, loads, a listener, from several threads."""

import contextlib
import copy
import itertools
import math
import pickle
import time

from khronos_fast import MemoryCache, RemovalCause

from .ledger import Ledger
from .part import Part, chance
from .values import fault_of, make

KEYS = 600  # of each player
MAXSIZE, MAX_WEIGHT = 100, 4000
LATE = 0.005  # seconds for which what has expired may still be served


class Refused(Exception):
    """What a loader raises that fails on purpose."""


class Entry(dict):
    """A value that knows when its time is over (monotonic)."""

    until = math.inf


class Memory(Part):
    name = "memory"

    def __init__(self, seed, players=3):
        super().__init__(seed, players)
        self.ledger = Ledger(KEYS * players)
        self.removed = {cause: itertools.count() for cause in RemovalCause}
        self.cache = MemoryCache(
            MAXSIZE, 5, max_weight=MAX_WEIGHT, weigher=self.weigh, on_removal=self.hear, name="soak"
        )

    @staticmethod
    def weigh(key, value):
        return 1 + value["number"] % 100

    def hear(self, key, value, cause):
        next(self.removed[cause])
        if key != key_name(value["key"]):
            self.referee.report(f"{key} was removed with what is another's: {value}")
        if chance(self.referee.rng, 0.001):
            self.cache.get(key)

    # A turn

    def turn(self, player):
        kind = player.rng.choices((self.read, self.write, self.forget, self.load, self.look_around), (50, 25, 5, 18, 2))
        kind[0](player)

    def any_key(self, player):
        # The lower, the more often.
        return int(len(self.players) * KEYS * player.rng.random() ** 2)

    def own_key(self, player):
        return player.number * KEYS + int(KEYS * player.rng.random() ** 2)

    def check(self, player, key, value, floor, began):
        fault = fault_of(value, key, floor, self.ledger.truth(key))
        if fault is None and began > value.until + LATE:
            fault = f"key {key} was served {began - value.until:.4f} s after its time"
        player.expect(fault is None, fault)

    def read(self, player):
        cache, key = self.cache, self.any_key(player)
        name = key_name(key)
        floor, began = self.ledger.floor(key), time.monotonic()
        match player.rng.randrange(6):
            case 0 | 1 | 2:
                value = player.call(cache.get, name)
            case 3:
                value = player.call(cache.peek, name)
            case 4:
                value = cache[name] if name in cache else None
            case _:
                value = player.call(cache.get_many, [name]).get(name)
        if value is not None:
            self.check(player, key, value, floor, began)

    def write(self, player):
        cache, key = self.cache, self.own_key(player)
        name = key_name(key)
        number = self.ledger.begin(key)
        value = entry(key, number)
        match player.rng.randrange(8):
            case 0 | 1 | 2:
                ttl = player.rng.choice((0.001, 0.02, 0.3, 3))
                player.call(cache.set, name, value, ttl=ttl)
                value.until = time.monotonic() + ttl
            case 3:
                player.call(cache.set, name, value, ttl=None)
                cache.touch(name, ttl=2)
            case 4:
                player.call(cache.__setitem__, name, value)
            case 5:
                player.call(cache.set_many, {name: value}, ttl=1)
            case 6:
                cache.update({name: value})
            case _:
                if player.call(cache.setdefault, name, value) is not value:
                    return  # what was there stays
        self.ledger.done(key, number)

    def forget(self, player):
        cache, rng = self.cache, player.rng
        if chance(rng, 0.1):
            keys = range(player.number * KEYS, (player.number + 1) * KEYS)
            numbers = [self.ledger.begin(key) for key in keys]
            own = player.number
            player.call(cache.invalidate, rng.choice((f"{own}:*", f"{own}:[0-9]*", b"%d:?*" % own)))
            for key, number in zip(keys, numbers, strict=True):
                self.ledger.done(key, number)
            return
        key = self.own_key(player)
        name, number = key_name(key), self.ledger.begin(key)
        match rng.randrange(4):
            case 0:
                player.call(cache.delete, name)
            case 1:
                cache.pop(name, None)
            case 2:
                player.call(cache.delete_many, [name])
            case _:
                player.call(cache.invalidate, name)
        self.ledger.done(key, number)

    def load(self, player):
        key = self.any_key(player)
        rng = player.rng
        floor, began = self.ledger.floor(key), time.monotonic()

        def loader():
            number = self.ledger.truth(key)
            if chance(rng, 0.05):
                raise Refused
            if chance(rng, 0.05):
                time.sleep(0.002)
            return entry(key, number)

        try:
            value = player.call(self.cache.get_or_compute, key_name(key), loader, ttl=rng.choice((0.05, 1, None)))
        except Refused:
            return
        self.check(player, key, value, floor, began)

    def look_around(self, player):
        cache = self.cache
        match player.rng.randrange(6):
            case 0:
                for name, value in player.call(cache.items):
                    player.expect(name == key_name(value["key"]), f"{name} is listed with {value}")
            case 1:
                player.call(cache.expire)
            case 2:
                cache.resize(player.rng.choice((MAXSIZE, MAXSIZE, MAXSIZE // 2)))
            case 3:
                plain = MemoryCache(50, 1)
                plain.update((name, dict(value)) for name, value in cache.items())
                for twin in (copy.copy(plain), pickle.loads(pickle.dumps(plain))):
                    player.expect(len(twin) <= 50, f"a copy has {len(twin)} entries")
            case 4:
                stats = player.call(cache.stats)
                player.expect(stats.size <= MAXSIZE and stats.weight <= MAX_WEIGHT, f"beyond its bounds: {stats}")
            case _:
                with contextlib.suppress(KeyError):
                    player.call(cache.popitem)

    # Accounts

    def live(self):
        return {"entries": len(self.cache), "weight": self.cache.stats().weight}

    def end(self):
        self.cache.expire()
        stats, heard = self.cache.stats(), {cause: next(count) for cause, count in self.removed.items()}
        counted = {
            RemovalCause.EVICTED: stats.evictions,
            RemovalCause.EXPIRED: stats.expirations,
            RemovalCause.INVALIDATED: stats.invalidations,
            RemovalCause.REPLACED: stats.updates,
        }
        for cause, count in counted.items():
            self.referee.expect(heard[cause] == count, f"{cause.name}: heard of {heard[cause]}, counted {count}")
        gone = sum(heard.values()) - heard[RemovalCause.REPLACED]
        left = stats.inserts - gone
        self.referee.expect(left == stats.size, f"{stats.inserts} entries came, {gone} went, {stats.size} are there")
        self.cache.clear()
        self.referee.expect(len(self.cache) == 0, "a cache that was cleared has entries")


def key_name(key):
    return f"{key // KEYS}:{key % KEYS}"


def entry(key, number):
    return Entry(make(key, number))
