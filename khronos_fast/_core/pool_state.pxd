# The state of a pool, and the two transitions that have to be quick: lending what is idle, and taking it back.
#
# One machine for both kinds of pool. It decides who gets what, what is opened and what is closed; it never waits, and
# it runs nothing of the user's. The drivers (`pool` for threads, `async_pool` for tasks) do that: they ask for the next
# job, run it, and say how it went.
#
# A borrower who finds nothing ready joins the line and does nothing else: it neither opens nor validates. Whatever gets
# ready, because somebody gives it back or a job has opened or validated it, goes to the head of the line. So a borrower
# that is cancelled or runs out of time only has to leave the line, which takes constant time and loses nothing.
# (HikariCP's borrower waits for what is opened on its behalf in the same way; the direct hand-over, first come, first
# served, is that of Scherer and Lea's synchronous queues, 2006.)
#
# Everything here happens in the state's mutex. It protects the lists, the table and all counts; no Python code runs
# inside (mutex.pxd). The pool's set of slots holds each slot until it is gone, so lists and table only borrow them; who
# goes on with one outside takes a reference inside. What a slot holds never changes once it is open.
#
# Hooks and logs may raise anything. So every transition has changed the state before it tells them, and wakes whom it
# has served, and calls for work, whatever they raise.

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from khronos_fast._core.clock cimport Moment, stamp_now
from khronos_fast._core.durations cimport Durations, durations_add
from khronos_fast._core.forks cimport forks_so_far
from khronos_fast._core.mutex cimport Mutex, mutex_enter, mutex_leave
from khronos_fast._core.slab cimport NEVER

cdef enum Doing:
    GONE            # closed, or never opened
    OPENING         # a job runs `create` for it
    IDLE
    TO_CHECK        # waits for a job that runs `validate`
    CHECKING
    HANDED          # lent to one who waited, and who has not taken it yet: nobody can give it back
    BORROWED
    TO_CLEAN        # waits for a job that runs `reset`
    CLEANING        # given back; nobody has it yet
    TO_CLOSE        # waits for a job that runs `destroy`
    CLOSING

cdef enum Fate:
    WAITING
    SERVED          # its slot has been lent to it
    REFUSED         # the pool has been closed
    LEFT            # it is in the line no more

# Slots or waiters, in order; each is in one list at most.
cdef struct Line:
    PyObject *first
    PyObject *last
    Py_ssize_t count

cdef struct Place:
    PyObject *resource
    PyObject *slot


cdef class Link:
    cdef PyObject *previous     # neighbours in its list, borrowed
    cdef PyObject *next


cdef class Slot(Link):
    cdef object resource
    cdef Doing doing
    cdef bint suspect           # its borrower failed: it is validated as well when it is cleaned
    cdef uint64_t lease         # the number of the borrower who has it, or had it last
    cdef uint64_t epoch         # drains there had been when it was opened
    cdef uint64_t generation    # of the pool, to which it belongs
    cdef int64_t since          # when what it is doing began
    cdef int64_t expires        # its longest life ends


cdef class Waiter(Link):
    cdef Fate fate
    cdef Slot slot
    cdef uint64_t lease         # with which it has been served
    cdef uint64_t generation    # of the pool, in whose line it waits
    cdef int64_t since

    cdef bint wake(self) except -1


cdef class PoolState:
    cdef Mutex mutex
    # A pool begins anew in a forked child, and an AsyncPool in another event loop. What belongs to an earlier
    # generation and turns up later, a lease or a job, changes nothing.
    cdef uint64_t generation
    cdef long forks             # there had been when it began
    cdef object loop            # in which the resources of an AsyncPool live
    # Options, as they were given.
    cdef readonly object name
    cdef object create, destroy, validate, reset, on_event
    cdef readonly Py_ssize_t min_size, max_size
    cdef int64_t acquire_timeout, idle_timeout, max_lifetime, validate_after
    cdef Py_ssize_t max_waiting
    # What is where.
    cdef set slots              # all that are open or opening: holds them, and shows them to the garbage collector
    cdef Place *table           # of what is open, from a resource to its slot; open addressing
    cdef Py_ssize_t room        # of the table: a power of two
    cdef Py_ssize_t size        # open, whatever they are doing
    cdef Line idle              # in the order in which they were given back
    cdef Line openings          # in the order in which they began
    cdef Line checks            # being validated, in the order in which that began
    cdef Line jobs              # slots that wait for a job
    cdef Line line              # who waits
    cdef Py_ssize_t borrowed, checking, closing
    cdef bint plain             # giving back needs nothing but a look at the state: no reset, no hook
    cdef bint closed
    cdef uint64_t epoch
    # Opening.
    cdef Py_ssize_t filling     # calls of `warm` under way, and 1 where what has expired is to be replaced
    cdef bint replacing
    cdef int64_t grown          # when the latest one was opened
    cdef int64_t usual          # what opening takes: a running mean
    cdef int64_t not_before     # no opening begins earlier: the last one has failed
    cdef int64_t back_off
    cdef object last_error
    cdef Py_ssize_t called      # workers that have been called and have not looked yet
    cdef int64_t alarm          # when the driver has been told to look again
    cdef uint64_t random
    cdef Moment moment
    cdef Line watchers          # of `warm` and `close`: to be woken when anything has been opened or closed
    cdef int64_t next_expiry    # no resource reaches the end of its longest life earlier
    cdef uint64_t created, create_failures, destroyed, acquired, timeouts, rejected
    cdef uint64_t validation_failures, expired_idle, expired_lifetime
    cdef int64_t left           # nanoseconds that borrowers have waited in vain, all together
    # What it took to be lent one, those who did not wait at all left out; how long each was out; what opening took.
    cdef Durations waits, uses, openings_took

    cdef object crew            # who does the jobs and keeps the alarm
    cdef object __weakref__

    cdef object new_crew(self)
    cdef bint call_workers(self, Py_ssize_t count) except -1
    cdef bint set_alarm(self, int64_t due) except -1


cdef extern from *:
    """
    /* The upper bits of a product are mixed best. */
    #define kf_place_of(resource, room) ((Py_ssize_t)(((uint64_t)(uintptr_t)(resource) >> 4) * 0x9E3779B97F4A7C15ull \
        >> 32) & ((room) - 1))
    """
    Py_ssize_t place_of "kf_place_of"(PyObject *resource, Py_ssize_t room) noexcept


cdef inline void line_append(Line *line, PyObject *link) noexcept:
    (<Link> link).previous = line.last
    (<Link> link).next = NULL
    if line.last == NULL:
        line.first = link
    else:
        (<Link> line.last).next = link
    line.last = link
    line.count += 1


cdef inline void line_remove(Line *line, PyObject *link) noexcept:
    cdef PyObject *previous = (<Link> link).previous
    cdef PyObject *next = (<Link> link).next
    if previous == NULL:
        line.first = next
    else:
        (<Link> previous).next = next
    if next == NULL:
        line.last = previous
    else:
        (<Link> next).previous = previous
    line.count -= 1


cdef inline PyObject *find_slot(PoolState self, PyObject *resource) noexcept:
    """The slot of what is open; NULL for anything else."""
    cdef Py_ssize_t place = place_of(resource, self.room)
    while self.table[place].resource != NULL:
        if self.table[place].resource == resource:
            return self.table[place].slot
        place = (place + 1) & (self.room - 1)
    return NULL


cdef inline void lend(PoolState self, PyObject *slot, int64_t now) noexcept:
    (<Slot> slot).doing = BORROWED
    (<Slot> slot).lease += 1
    (<Slot> slot).since = now
    self.borrowed += 1
    self.acquired += 1


cdef inline PyObject *take_idle(PoolState self, int64_t now) noexcept:
    """Lend the resource that was given back last, if it can be had at once.

    It overtakes nobody: where anybody waits, whatever is idle has to be validated first.
    """
    cdef PyObject *slot = self.idle.last
    if slot == NULL or now >= (<Slot> slot).expires or now - (<Slot> slot).since > self.validate_after:
        return NULL
    line_remove(&self.idle, slot)
    lend(self, slot, now)
    return slot


cdef inline bint is_lent(PoolState self, Slot slot, uint64_t lease) noexcept:
    """Whether that lease is still that of the slot."""
    return slot.doing == BORROWED and slot.lease == lease and slot.generation == self.generation


cdef inline bint is_surplus(PoolState self, PyObject *slot, int64_t now) noexcept:
    """Whether a resource is to be closed rather than kept."""
    return (
        now >= (<Slot> slot).expires
        or (<Slot> slot).epoch != self.epoch
        or self.size - self.closing + self.openings.count > self.max_size
        or self.closed
    )


cdef inline bint put_back(PoolState self, PyObject *slot, int64_t now) noexcept:
    """Take a borrowed resource back, where that is all there is to do."""
    if not self.plain or self.line.first != NULL or is_surplus(self, slot, now):
        return False
    durations_add(&self.uses, now - (<Slot> slot).since)
    self.borrowed -= 1
    (<Slot> slot).doing = IDLE
    (<Slot> slot).since = now
    line_append(&self.idle, slot)
    return True


cdef inline Slot borrow_at_once(PoolState self, uint64_t *lease):
    """What can be had at once, and the number of its lease; None if nothing can."""
    cdef Slot slot = None
    cdef PyObject *found
    if self.forks != forks_so_far:
        return None
    mutex_enter(&self.mutex)
    found = take_idle(self, stamp_now(&self.moment))
    if found != NULL:
        slot = <Slot> found
        lease[0] = slot.lease
    mutex_leave(&self.mutex)
    return slot


cdef inline bint release_at_once(PoolState self, PyObject *resource) noexcept:
    """Take back what is out, where that is all there is to do."""
    cdef PyObject *slot
    cdef bint done = False
    if self.forks != forks_so_far:
        return False
    mutex_enter(&self.mutex)
    slot = find_slot(self, resource)
    if slot != NULL and (<Slot> slot).doing == BORROWED:
        done = put_back(self, slot, stamp_now(&self.moment))
    mutex_leave(&self.mutex)
    return done


cdef inline bint end_at_once(PoolState self, Slot slot, uint64_t lease) noexcept:
    """The same, if its lease has not ended before: then somebody else may have it."""
    cdef bint done = False
    if self.forks != forks_so_far:
        return False
    mutex_enter(&self.mutex)
    if is_lent(self, slot, lease):
        done = put_back(self, <PyObject *> slot, stamp_now(&self.moment))
    mutex_leave(&self.mutex)
    return done


cdef inline int64_t later(int64_t moment, int64_t span) noexcept:
    """That much later; what overflows never comes."""
    return NEVER if span >= NEVER - moment else moment + span


# The rules, for the drivers. Each is explained where it is.
cdef int configure(
    PoolState self, object create, object destroy, object validate, object reset, object min_size, object max_size,
    object acquire_timeout, object idle_timeout, object max_lifetime, object max_waiting, object validate_after_idle,
    object on_event, object name,
) except -1
cdef int join_line(PoolState self, Waiter waiter, int64_t now, bint patient) except -1
cdef Fate leave_line(PoolState self, Waiter waiter, bint out_of_time) except *
cdef void count_wait(PoolState self, int64_t time) noexcept
cdef Slot served_slot(PoolState self, Waiter waiter, uint64_t *lease)
cdef int tell_acquired(PoolState self, Slot slot, uint64_t lease, int64_t waited) except -1
cdef object timeout_error(PoolState self, int64_t time)
cdef int give_up(PoolState self, Waiter waiter) except -1
cdef Slot borrowed_slot(PoolState self, object resource, uint64_t *lease)
cdef Doing take_back(PoolState self, Slot slot, uint64_t lease, Doing doing, bint suspect, int64_t *used) except *
cdef bint is_broken_by(PoolState self, object kind) except -1
cdef bint keep(PoolState self, Slot slot) except -1
cdef int close_later(PoolState self, Slot slot) except -1
cdef int forget(PoolState self) except -1
cdef void condemn(PoolState self, Slot slot) noexcept
cdef int begin_to_fill(PoolState self) except -1
cdef void end_fill(PoolState self, uint64_t generation) noexcept
cdef void begin_to_watch(PoolState self, Waiter waiter) noexcept
cdef void end_watch(PoolState self, Waiter waiter) noexcept
cdef bint is_filled(PoolState self) noexcept
cdef int leave_to_workers(PoolState self, Line *leaving) except -1
cdef Slot next_job(PoolState self, bint called)
cdef void uncall(PoolState self, Py_ssize_t count) noexcept
cdef bint was_opened(PoolState self, Slot slot, object resource) except -1
cdef int was_not_opened(PoolState self, Slot slot, object error) except -1
cdef bint was_checked(PoolState self, Slot slot, bint valid) except -1
cdef int was_closed(PoolState self, Slot slot, object error) except -1
cdef int look_again(PoolState self) except -1
cdef int attend(PoolState self, int64_t now) except -1
cdef int change_sizes(PoolState self, object min_size, object max_size, Line *leaving) except -1
cdef int retire_all(PoolState self, Line *leaving) except -1
cdef int begin_to_close(PoolState self) except -1
cdef bint is_empty(PoolState self) noexcept
cdef list take_all_idle(PoolState self)
cdef int look(PoolState self) except -1
cdef int disown(PoolState self) except -1
cdef int refuse_if_closed(PoolState self) except -1
cdef int tell(PoolState self, str kind, object resource, object error, int64_t time) except -1
cdef str describe(PoolState self)
cdef void empty(PoolState self) noexcept
