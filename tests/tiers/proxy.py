"""A proxy before a server that spoils what passes through it as the test says, and counts what passes.

It runs in a thread with an event loop of its own, so it goes on whatever the test does to its own loop. What it does
can be changed at any time; the change holds for connections that are open, too.

- `passing()`: everything as it comes (so it begins)
- `delaying(seconds)`: every answer comes later by that much
- `dripping(seconds)`: answers come byte by byte, with a pause between two
- `truncating(count)`: that many bytes of the next answer, then the connection is closed
- `blackholing()`: what clients send disappears, and nothing comes; new connections are accepted
- `answering(data)`: that is the answer to whatever is asked (the server never hears of it)
- `refusing()`: nobody listens
- `cut()`: all connections are reset; new ones are accepted
- `hold(predicate)`: what clients send stops at the first command for which the predicate is true, until it is let go
"""

import asyncio
import contextlib
import struct
import threading

from .servers import PATIENCE, free_port


class Requests:
    """The commands in a stream of bytes, as tuples of bytes."""

    def __init__(self):
        self.buffer = b""

    def feed(self, data):
        self.buffer += data
        found = []
        while (parsed := self._one(self.buffer)) is not None:
            command, length = parsed
            self.buffer = self.buffer[length:]
            found.append(command)
        return found

    @staticmethod
    def _one(data):
        if not data.startswith(b"*"):
            if data and b"\r\n" in data:  # inline
                line, _, _ = data.partition(b"\r\n")
                return tuple(line.split()), len(line) + 2
            return None
        end = data.find(b"\r\n")
        if end < 0:
            return None
        count, at, words = int(data[1:end]), end + 2, []
        for _ in range(count):
            end = data.find(b"\r\n", at)
            if end < 0:
                return None
            length, at = int(data[at + 1 : end]), end + 2
            if len(data) < at + length + 2:
                return None
            words.append(data[at : at + length])
            at += length + 2
        return tuple(words), at


class Held:
    """What waits at the proxy: `wait()` until something does, `let_go()`."""

    def __init__(self, predicate):
        self.predicate = predicate
        self.arrived, self.go = threading.Event(), threading.Event()
        self.commands = []

    def wait(self, timeout=PATIENCE):
        assert self.arrived.wait(timeout), "no such command came by"

    def let_go(self):
        self.go.set()


class Proxy:
    def __init__(self, host, port, *, own_port=None):
        self.target = (host, port)
        self.host, self.port = "127.0.0.1", own_port or free_port()
        self.lock = threading.Lock()
        self.holds = []
        self.streams, self.tasks = set(), set()
        self.reset_counts()
        self._mode, self._argument = "pass", None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self.listener = None
        self.thread.start()
        self._do(self._listen())

    @property
    def url(self):
        return f"redis://{self.host}:{self.port}"

    # What it counts

    def reset_counts(self):
        with self.lock:
            self.connections = 0  # accepted
            self.bursts = 0  # what a client sent before it had an answer: a round trip
            self.commands = []  # all that clients sent

    def names(self):
        """The names of the commands that came by, without those that set up a connection."""
        with self.lock:
            names = [command[0].upper().decode() for command in self.commands if command]
        return [name for name in names if name not in ("HELLO", "CLIENT", "AUTH", "SELECT", "READONLY", "COMMAND")]

    @contextlib.contextmanager
    def counted(self):
        """What happens in the `with`: afterwards it has .trips, .commands and .connections."""
        counted = Counted(self)
        yield counted
        counted.stop()

    # What it does

    def _switch(self, mode, argument=None):
        self._do(self._set(mode, argument))
        return self

    async def _set(self, mode, argument):
        if self._mode == "refuse" and mode != "refuse":
            await self._listen()
        self._mode, self._argument = mode, argument
        if mode == "refuse":
            await self._stop_listening()
            self._abort_all()

    def passing(self):
        return self._switch("pass")

    def delaying(self, seconds):
        return self._switch("delay", seconds)

    def dripping(self, seconds=0.05):
        return self._switch("drip", seconds)

    def truncating(self, count=1):
        return self._switch("truncate", count)

    def blackholing(self):
        return self._switch("blackhole")

    def answering(self, data=b"$$$ this is no answer\r\n"):
        return self._switch("answer", data)

    def refusing(self):
        return self._switch("refuse")

    def cut(self):
        """Reset every connection, whatever is under way on it."""
        self._do(self._abort())

    async def _abort(self):
        self._abort_all()

    def hold(self, predicate):
        """The first command for which `predicate(words)` is true waits, with all that comes behind it there."""
        held = Held(predicate)
        with self.lock:
            self.holds.append(held)
        return held

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        if self.loop.is_closed():
            return
        for held in self.holds:
            held.let_go()
        self._do(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()

    # In the thread of the proxy

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    async def _listen(self):
        if self.listener is None:
            self.listener = await asyncio.start_server(self._accepted, self.host, self.port, limit=1 << 22)

    async def _stop_listening(self):
        if self.listener is not None:
            listener, self.listener = self.listener, None
            # asyncio loses a connection that is being accepted while its server is closed: first nobody is accepted.
            for sock in listener.sockets:
                self.loop.remove_reader(sock)
            for _ in range(3):
                await asyncio.sleep(0)
            listener.close()

    def _abort_all(self):
        for writer in list(self.streams):
            _reset(writer)

    async def _end(self):
        await self._stop_listening()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            self._abort_all()
            for task in self.tasks:  # but for those that only close what they had: they end by themselves
                task.cancel()
            await asyncio.wait(tasks)
            await asyncio.sleep(0)  # whoever was accepted at the last moment is served from now on
        self._abort_all()  # those whose task had not begun when it was cancelled
        for _ in range(5):  # what was aborted is told so at the loop's next turn
            await asyncio.sleep(0)

    def _accepted(self, reader, writer):
        self.streams.add(writer)
        task = self.loop.create_task(self._serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, reader, writer):
        with self.lock:
            self.connections += 1
        upstream = None
        try:
            if self._mode not in ("blackhole", "answer"):
                upstream = await asyncio.open_connection(*self.target)
                self.streams.add(upstream[1])
            talk = _Talk(self, reader, writer, upstream)
            await talk.run()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.tasks.discard(asyncio.current_task())
            writers = [each for each in (writer, upstream and upstream[1]) if each is not None]
            for each in writers:
                self.streams.discard(each)
                _reset(each)
            for each in writers:
                # The other side may have reset it first. A stream keeps that error until somebody asks how it was
                # closed; if nobody does, it is reported as one that was lost.
                with contextlib.suppress(OSError):
                    await each.wait_closed()


def _reset(writer):
    """Closed so that the other side is told at once, and what was on its way is lost."""
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            import socket

            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Talk:
    """One connection."""

    def __init__(self, proxy, reader, writer, upstream):
        self.proxy, self.reader, self.writer, self.upstream = proxy, reader, writer, upstream
        self.requests = Requests()
        self.asked = False  # the client spoke last

    async def run(self):
        tasks = [asyncio.ensure_future(self.forth())]
        if self.upstream is not None:
            tasks.append(asyncio.ensure_future(self.back()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def forth(self):
        proxy = self.proxy
        while data := await self.reader.read(1 << 20):
            commands = self.requests.feed(data)
            with proxy.lock:
                if not self.asked:
                    proxy.bursts += 1
                    self.asked = True
                proxy.commands += commands
                held = next((held for held in proxy.holds if not held.arrived.is_set() and _any(held, commands)), None)
                if held is not None:
                    held.commands = commands
                    held.arrived.set()
            if held is not None:
                while not held.go.is_set():
                    await asyncio.sleep(0.002)
            mode, argument = proxy._mode, proxy._argument
            if mode == "blackhole":
                continue
            if mode == "answer":
                self.asked = False
                self.writer.write(argument)
                await self.writer.drain()
                continue
            if self.upstream is None:  # it began in a black hole: there is nobody to talk to
                continue
            self.upstream[1].write(data)
            await self.upstream[1].drain()

    async def back(self):
        proxy = self.proxy
        while data := await self.upstream[0].read(1 << 20):
            self.asked = False
            mode, argument = proxy._mode, proxy._argument
            if mode in ("blackhole", "answer"):
                continue
            if mode == "delay":
                await asyncio.sleep(argument)
            elif mode == "drip":
                for number in range(len(data)):
                    self.writer.write(data[number : number + 1])
                    await self.writer.drain()
                    await asyncio.sleep(argument)
                    if proxy._mode != "drip":
                        self.writer.write(data[number + 1 :])
                        break
                continue
            elif mode == "truncate":
                self.writer.write(data[:argument])
                await self.writer.drain()
                # In good order, so that the bytes arrive.
                self.writer.write_eof()
                await asyncio.sleep(0.05)
                return
            self.writer.write(data)
            await self.writer.drain()


def _any(held, commands):
    return any(held.predicate(command) for command in commands if command)


class Counted:
    def __init__(self, proxy):
        self.proxy = proxy
        with proxy.lock:
            self._begin = (proxy.connections, proxy.bursts, len(proxy.commands))
        self.trips = self.connections = self.commands = None

    def stop(self):
        proxy = self.proxy
        with proxy.lock:
            connections, bursts, commands = self._begin
            self.connections = proxy.connections - connections
            self.trips = proxy.bursts - bursts
            self.commands = proxy.commands[commands:]

    def names(self):
        return [command[0].upper().decode() for command in self.commands if command]
