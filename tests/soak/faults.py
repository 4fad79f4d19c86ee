"""The Redis of a soak, behind proxies, and what happens to it: a process, `python -m tests.soak.faults JSON`.

It says one line, the URLs of the proxies, and goes on until its standard input ends.
"""

import json
import random
import signal
import sys
import threading

from tests.tiers.proxy import Proxy
from tests.tiers.servers import Server, stop_all

from .weather import Weather

# Seconds that a fault and a calm take, about. Calms are long enough for others to recover, and be judged.
FAULT, CALM = (0.3, 4.0), (4.0, 25.0)
LOOK = 0.2  # seconds between two looks at the proxies' lists, which are of no use here
GARBAGE = (b"$$$ no answer\r\n", b"-ERR somebody else's error\r\n", b"*3\r\n$1\r\na\r\n", bytes(range(256)))


class Faults:
    def __init__(self, seed, proxies, folder):
        self.rng = random.Random(f"{seed} faults")
        self.weather = Weather(f"{folder}/weather")
        self.server = Server(persistent=True).start()
        self.proxies = [Proxy(self.server.host, self.server.port) for _ in range(proxies)]
        self.ended = threading.Event()

    def run(self):
        self.weather.calm()
        faults = [self.cut, self.slow, self.drip, self.truncate, self.blackhole, self.garble, self.refuse]
        faults += [self.freeze, self.restart, self.kill, self.disconnect, self.full, self.spoil]
        while not self.pause(CALM):
            fault = self.rng.choice(faults)
            self.weather.storm()
            fault()
            self.weather.calm()
        for proxy in self.proxies:
            proxy.close()
        self.server.close()
        stop_all()

    def pause(self, span):
        """Wait for about so long; True if all is to end."""
        left = self.rng.uniform(*span)
        while left > 0 and not self.ended.wait(LOOK):
            left -= LOOK
            for proxy in self.proxies:
                proxy.reset_counts()
        return self.ended.is_set()

    def struck(self):
        """Those that are hit: one, or all."""
        return self.rng.choice([[proxy] for proxy in self.proxies] + [self.proxies])

    def _with(self, mode, *args):
        struck = self.struck()
        for proxy in struck:
            getattr(proxy, mode)(*args)
        self.pause(FAULT)
        for proxy in struck:
            proxy.passing()
        # What is half-way is of no use to anybody.
        for proxy in struck:
            proxy.cut()

    # Between the caches and the server

    def cut(self):
        for proxy in self.struck():
            proxy.cut()

    def slow(self):
        self._with("delaying", self.rng.choice((0.05, 0.4)))

    def drip(self):
        self._with("dripping", 0.01)

    def truncate(self):
        self._with("truncating", self.rng.randrange(1, 20))

    def blackhole(self):
        self._with("blackholing")

    def garble(self):
        self._with("answering", self.rng.choice(GARBAGE))

    def refuse(self):
        self._with("refusing")

    # The server itself

    def freeze(self):
        self.server.pause()
        self.pause(FAULT)
        self.server.resume()

    def restart(self):
        self.server.stop()
        self.pause(FAULT)
        self.server.start()

    def kill(self):
        self.server.kill()
        self.server.start()

    def disconnect(self):
        for kind in ("normal", "pubsub"):
            self.server.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    def full(self):
        """It takes nothing more: writes are refused, deletions are not."""
        self.server.ask("CONFIG", "SET", "maxmemory", "1")
        self.pause(FAULT)
        self.server.ask("CONFIG", "SET", "maxmemory", "0")

    def spoil(self):
        """Somebody overwrites values with what is none."""
        with self.server.asked() as client:
            for key in self.rng.sample(keys := self.server.keys("soak*"), min(20, len(keys))):
                if client.type(key) == b"string" and client.ttl(key) > 0:
                    client.set(key, self.rng.choice((b"", b"{", b"\x00\xff", b"[1, 2")), ex=5)


def main():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever has started this ends it
    faults = Faults(**json.loads(sys.argv[1]))
    print(json.dumps([proxy.url for proxy in faults.proxies]), flush=True)

    def wait():
        sys.stdin.read()
        faults.ended.set()

    threading.Thread(target=wait, daemon=True).start()
    faults.run()


if __name__ == "__main__":
    main()
