"""All processes together: started in order, revived, restarted one after another, and ended in order."""

import signal
import time
from collections.abc import Callable, Iterable, Sequence

from supervisor.child import Child
from supervisor.errors import SetupError

LOOK = 0.05  # seconds between looks at the processes
TO_START = 30.0
TO_END = 15.0  # more than nginx's worker_shutdown_timeout


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Somebody wants an end of all this."""


def say(text: str) -> None:
    """Tell whoever started the command."""
    print(text, flush=True)


class Cluster:
    """Workers, with what must be there before them and what comes before them."""

    def __init__(self, before: Sequence[Child], workers: Sequence[Child], after: Sequence[Child]) -> None:
        self.before, self.workers, self.after = before, workers, after
        self._stops = 0
        self._restart_wanted = False

    def listen_to_signals(self) -> None:
        """SIGINT (Ctrl-C) and SIGTERM end it, at the second time in a hurry; SIGHUP restarts the workers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_restart)

    def _on_stop(self, *_: object) -> None:
        self._stops += 1

    def _on_restart(self, *_: object) -> None:
        self._restart_wanted = True

    def start(self) -> None:
        """Start all, those that need others after these. Raises SetupError, Stopped."""
        for together in (self.before, self.workers, self.after):
            for child in together:
                child.start()
            for child in together:
                self._wait_for_start(child)

    def run(self) -> None:
        """Keep all running until somebody wants them to end."""
        try:
            while True:
                self._look()
                if self._restart_wanted:
                    self._restart_wanted = False
                    self._restart_workers()
                time.sleep(LOOK)
        except Stopped:
            return

    def stop(self) -> None:
        """End all, first what lets requests in; each finishes what it has begun."""
        for together in (self.after, self.workers, self.before):
            for child in together:
                child.ask_to_end()
            in_a_hurry = self._stops + 1
            end = time.monotonic() + TO_END
            while any(child.runs for child in together) and time.monotonic() < end and self._stops < in_a_hurry:
                time.sleep(LOOK)
            for child in together:
                child.kill()

    def _all(self) -> Iterable[Child]:
        return (*self.before, *self.workers, *self.after)

    def _look(self) -> None:
        if self._stops:
            raise Stopped
        for child in self._all():
            if news := child.revive():
                say(news)

    def _wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for something while the cluster is looked after; whether it came. Raises Stopped."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end:
                return False
            self._look()
            time.sleep(LOOK)
        return True

    def _wait_for_start(self, child: Child) -> None:
        end = time.monotonic() + TO_START
        while not child.answers():
            if self._stops:
                raise Stopped
            if not child.runs or time.monotonic() >= end:
                outcome = "does not answer" if child.runs else "ended at once"
                raise SetupError(f"{child.name} {outcome}. The end of {child.log}:\n{child.last_words()}")
            time.sleep(LOOK)

    def _restart_workers(self) -> None:
        """One after the other, and none unless nginx has somebody else to ask.

        A worker that is asked to end refuses new connections, and closes those that are idle: nginx asks the next one.
        What it has begun it finishes.
        """
        say("restarting the workers, one after another")
        for worker in self.workers:
            if not self._restart_worker(worker):
                say("the other workers are left as they are")
                return
        say("all workers restarted")

    def _restart_worker(self, worker: Child) -> bool:
        others = [other for other in self.workers if other is not worker]
        if not self._wait(lambda: all(other.answers() for other in others), TO_START):
            say(f"{worker.name} is not restarted, as there are others that do not answer")
            return False
        worker.ask_to_end()
        self._wait(lambda: not worker.runs, TO_END)
        worker.kill()
        worker.start()
        if not self._wait(worker.answers, TO_START):
            say(f"{worker.name} does not answer any more; see {worker.log}")
            return False
        say(f"{worker.name} restarted")
        return True
