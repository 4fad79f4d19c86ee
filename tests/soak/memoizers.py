"""Memoized functions and coroutine functions: hits, loads shared, refreshed, overtaken, failed and cancelled."""

import asyncio
import time

from khronos_fast import MemoryCache, cache, cached, lru_cache

from .ledger import Ledger
from .memory import Refused
from .part import Part, TaskPart, chance
from .values import fault_of, make

KEYS = 100  # of each player
TTL = 0.3
# The function's stamp is older than the entry's by as long as the thread was stopped between the two.
LATE = 5.0


class Memoizers(Part):
    name = "memoizers"

    def __init__(self, seed, players=2):
        super().__init__(seed, players)
        self.ledger = ledger = Ledger(KEYS * players)
        self.cache = MemoryCache(KEYS, 2, name="soak memo")

        def source(key, fail=False):
            if fail:
                raise Refused
            return make(key, ledger.truth(key))

        self.loaded = cached(self.cache)(source)
        self.named = cached(self.cache, key=lambda key, fail=False: f"n:{key}")(source)
        self.alone = cached(maxsize=100, ttl=1, single_flight=False)(source)
        self.old = lru_cache(KEYS, ttl=TTL)(lambda key: (key, time.monotonic()))
        self.typed = lru_cache(KEYS, typed=True)(lambda number: (type(number), number))
        self.all = cache(lambda number: number * 3)

    def turn(self, player):
        rng = player.rng
        if chance(rng, 0.1):
            self.change(player)
            return
        key = rng.randrange(KEYS * len(self.players))
        match rng.randrange(6):
            case 0 | 1 | 2:
                function = rng.choice((self.loaded, self.named))
                floor = self.ledger.floor(key)
                try:
                    value = player.call(function, key, fail=chance(rng, 0.02))
                except Refused:
                    return
                fault = fault_of(value, key, floor, self.ledger.truth(key))
                player.expect(fault is None, fault)
            case 3:
                began = time.monotonic()
                of, computed = player.call(self.old, key)
                player.expect(of == key, f"{key} has the result of {of}")
                player.expect(began < computed + TTL + LATE, f"a result of {began - computed:.1f} s ago")
            case 4:
                number = rng.choice((1, 1.0, True, key))
                kind, value = player.call(self.typed, number)
                player.expect(kind is type(number) and value == number, f"{number!r} has {kind} {value!r}")
                player.expect(self.all(key) == key * 3, f"the result of {key} is another's")
            case _:
                value = player.call(self.alone, key)
                player.expect(value["key"] == key, f"{key} has {value}")

    def change(self, player):
        key = player.number * KEYS + player.rng.randrange(KEYS)
        number = self.ledger.begin(key)
        # The same call, written in two ways, is two calls, as for functools.
        for fail in (True, False):
            self.loaded.cache_delete(key, fail=fail)
        match player.rng.randrange(3):
            case 0:
                self.named.cache_delete(key)
            case 1:
                value = player.call(self.named.refresh, key)
                player.expect(value["number"] >= number, f"refreshed to {value} after {number}")
            case _:
                self.named.cache_delete(key, fail=True)
        self.ledger.done(key, number)
        if chance(player.rng, 0.01):
            self.all.cache_clear()
            self.typed.cache_clear()

    def live(self):
        infos = [self.alone.cache_info(), self.old.cache_info(), self.typed.cache_info(), self.all.cache_info()]
        return {"entries": len(self.cache) + sum(info.currsize for info in infos)}

    def end(self):
        self.cache.clear()
        info = self.loaded.cache_info()
        self.referee.expect(info.hits > 0, f"nothing was ever remembered: {info}")


class Coroutines(TaskPart):
    name = "coroutines"

    def __init__(self, seed, players=3):
        super().__init__(seed, players)
        self.ledger = ledger = Ledger(KEYS * players)

        @cached(maxsize=KEYS, ttl=2)
        async def load(key):
            number = ledger.truth(key)
            await asyncio.sleep(0 if key % 3 else 0.002)
            if key % 50 == 7 and number % 4 == 0:
                raise Refused
            return make(key, number)

        self.load = load

    async def turn(self, player):
        rng = player.rng
        if chance(rng, 0.1):
            key = player.number * KEYS + rng.randrange(KEYS)
            number = self.ledger.begin(key)
            if chance(rng, 0.5):
                self.load.cache_delete(key)
            else:
                try:
                    await player.wait(self.load.refresh(key))
                except Refused:
                    self.load.cache_delete(key)
            self.ledger.done(key, number)
            return
        key = rng.randrange(KEYS * len(self.players))
        floor = self.ledger.floor(key)
        crowd = [asyncio.ensure_future(self.load(key)) for _ in range(rng.choice((1, 1, 1, 4)))]
        if chance(rng, 0.1):
            await asyncio.sleep(0)
            rng.choice(crowd).cancel()
        for answer in await player.wait(asyncio.gather(*crowd, return_exceptions=True)):
            if not isinstance(answer, (Refused, asyncio.CancelledError)):
                fault = fault_of(answer, key, floor, self.ledger.truth(key))
                player.expect(fault is None, fault)

    def live(self):
        return {"entries": self.load.cache_info().currsize}
