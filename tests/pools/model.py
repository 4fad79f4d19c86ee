"""What a pool has to do, as a model of it: a line, a stack of idle resources, and what is under way with the others.

The model is told of every call before the pool is, and says what must follow: who is served with what, who is refused,
and which calls of `validate`, `reset` and `destroy` begin. When an opening begins is the pool's own affair within
limits, so the model is told when one was seen, and says whether it was right to begin it, and whether one is missing.
"""

import time
from collections import Counter

from khronos_fast import NotBorrowed, PoolClosed, PoolExhausted, PoolTimeout

# An opening is late after a second.
LATE = 0.9


class Model:
    def __init__(self, min_size, max_size, validates, resets, max_waiting):
        self.min_size, self.max_size = min_size, max_size
        self.validates, self.resets, self.max_waiting = validates, resets, max_waiting
        self.line = []  # borrowers, first come first
        self.idle = []  # resources, last come last
        self.held = {}  # resources by their borrowers
        self.busy = {}  # by the identity of a resource: what is being done with it
        self.opening = []  # calls of `create`
        self.drains = 0
        self.born = {}  # by the identity of a resource: drains there had been when its opening began
        self.warming = 0
        self.failing = False
        self.closed = False
        self.counts = Counter()
        # What must follow.
        self.due = []  # (kind, resource)
        self.answers = {}  # by borrower: a resource or a kind of error

    # What can be asked

    @property
    def size(self):
        return len(self.idle) + len(self.held) + len(self.busy)

    def doing(self, kind):
        return sum(each == kind for each in self.busy.values())

    @property
    def staying(self):
        return self.size - self.doing("destroy")

    @property
    def is_warm(self):
        return self.staying >= self.min_size

    def wanted(self):
        """How many might be opened just now, if it were for the demand alone."""
        if self.closed:
            return 0
        # One that takes too long does not count: a second on a busy machine may be somewhat shorter here than there.
        young = sum(time.monotonic() - call.began < LATE for call in self.opening)
        for_line = len(self.line) - self.doing("validate") - young
        for_warmth = self.min_size - self.staying - young if self.warming else 0
        return max(for_line, for_warmth, 0)

    @property
    def room(self):
        return max(0, self.max_size - self.size - len(self.opening))

    def is_stuck(self):
        """Somebody waits, there is room, and nothing has been begun."""
        return bool(self.wanted() and self.room and not self.opening and not self.failing)

    # What follows

    def begin(self, kind, resource):
        self.busy[id(resource)] = kind
        self.due.append((kind, resource))

    def lend(self, borrower, resource):
        self.held[borrower] = resource
        self.answers[borrower] = resource
        self.counts["acquired"] += 1

    def ready(self, resource):
        """It can be lent again."""
        self.busy.pop(id(resource), None)
        if self.is_surplus(resource):
            self.begin("destroy", resource)
        elif self.line:
            self.lend(self.line.pop(0), resource)
        else:
            self.idle.append(resource)
        self.check_idle()

    def is_surplus(self, resource):
        # For the moment it is in none of the lists.
        too_many = self.staying + 1 + len(self.opening) > self.max_size
        return self.closed or too_many or self.born[id(resource)] != self.drains

    def check_idle(self, impatient=0):
        """One that sat idle is validated for each who waits, whoever gets it in the end."""
        while self.validates and self.idle and self.doing("validate") < len(self.line) + impatient:
            self.begin("validate", self.idle.pop())

    # What is called

    def acquire(self, borrower, timeout=None):
        if self.closed:
            self.answers[borrower] = PoolClosed
        elif self.idle and not self.validates and not self.line:
            self.lend(borrower, self.idle.pop())
        elif timeout == 0:
            self.answers[borrower] = PoolTimeout
            self.counts["timeouts"] += 1
            self.check_idle(impatient=1)
        elif self.is_full():
            self.answers[borrower] = PoolExhausted
            self.counts["rejected"] += 1
        else:
            self.line.append(borrower)
            self.check_idle()

    def is_full(self):
        if self.max_waiting is None:
            return False
        # For these something is there, is being opened, or may be.
        provided_for = len(self.idle) + self.doing("validate") + max(0, self.max_size - self.size)
        return len(self.line) >= self.max_waiting + provided_for

    def leave(self, borrower, error=None):
        """It was cancelled, or its time is over."""
        self.line.remove(borrower)
        if error is PoolTimeout:
            self.counts["timeouts"] += 1
            self.answers[borrower] = error

    def release(self, borrower, discard):
        resource = self.held.pop(borrower)
        if discard or self.is_surplus(resource):
            self.begin("destroy", resource)
        elif self.resets:
            self.begin("reset", resource)
        else:
            self.ready(resource)

    def release_what_is_not_lent(self, resource):
        assert all(resource is not each for each in self.held.values())
        return NotBorrowed

    def opened(self, call):
        """An opening was seen to begin."""
        assert self.size + len(self.opening) < self.max_size, "an opening beyond max_size"
        call.drains = self.drains
        self.opening.append(call)

    def end_create(self, call, resource):
        self.opening.remove(call)
        if resource is None:
            self.counts["create_failures"] += 1
            self.failing = True
            return
        self.failing = False
        self.counts["created"] += 1
        self.born[id(resource)] = call.drains
        self.ready(resource)

    def end_validate(self, resource, valid):
        if valid:
            self.ready(resource)
        else:
            self.counts["validation_failures"] += 1
            self.begin("destroy", resource)
            self.check_idle()

    def end_reset(self, resource, clean):
        if clean:
            self.ready(resource)
        else:
            self.begin("destroy", resource)

    def end_destroy(self, resource):
        del self.busy[id(resource)]
        self.counts["destroyed"] += 1

    def resize(self, min_size, max_size):
        self.min_size, self.max_size = min_size, max_size
        while self.idle and self.staying + len(self.opening) > max_size:
            self.begin("destroy", self.idle.pop(0))

    def drain(self):
        self.drains += 1
        self.retire_idle()

    def retire_idle(self):
        while self.idle:
            self.begin("destroy", self.idle.pop(0))

    def close(self):
        self.closed = True
        for borrower in self.line:
            self.answers[borrower] = PoolClosed
        self.line.clear()
        self.retire_idle()

    def stats(self):
        """As far as the pool's must be the same when nothing moves."""
        figures = {
            "size": self.size,
            "available": len(self.idle),
            "borrowed": len(self.held),
            "waiting": len(self.line),
            "opening": len(self.opening),
            "min_size": self.min_size,
            "max_size": self.max_size,
            "expired_idle": 0,
            "expired_lifetime": 0,
        }
        counted = "created", "create_failures", "destroyed", "acquired", "timeouts", "rejected", "validation_failures"
        return figures | {name: self.counts[name] for name in counted}
