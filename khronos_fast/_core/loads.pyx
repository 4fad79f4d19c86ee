"""Loads of a memory that is one tier among others: what is loaded says itself how long it is kept, or that it is not.

Everything that overtakes a load of a `MemoryCache` (a write, a deletion, an invalidation) overtakes these as well: it
is the same list of loads under way.
"""

from khronos_fast._core.flight import for_another_thread

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t

from khronos_fast._core.arguments cimport parse_seconds
from khronos_fast._core.flight cimport Flight, ThreadFlight, is_raised
from khronos_fast._core.flights cimport flights_remove
from khronos_fast._core.keys cimport key_hash, mix
from khronos_fast._core.memory cimport FRESH, LONELY, SHARED, MemoryCache, board, book, deliver, discard, fail, strike
from khronos_fast._core.slab cimport NEVER
from khronos_fast._core.store cimport store_enter, store_leave


class OutOfPatience(Exception):
    """Another thread's load has taken longer than who waits for it can."""


@cython.final
cdef class Loaded:
    """A value, and for how many seconds the memory keeps it; None: for ever."""

    cdef readonly object value
    cdef int64_t life
    cdef bint kept

    def __init__(self, value, seconds=None, bint kept=True):
        self.value = value
        self.kept = kept and (seconds is None or seconds > 0)
        self.life = parse_seconds(seconds, "seconds", True, True) if self.kept else NEVER


cdef object land(MemoryCache cache, Flight flight, object value, int64_t life):
    """A load has returned this: stored, unless it was overtaken, and handed to those who wait. Returns the value."""
    cdef Loaded loaded
    if type(value) is Loaded:
        loaded = <Loaded> value
        value, life = loaded.value, loaded.life
        try:
            kept = loaded.kept and fits(cache, flight.key, value)
        except BaseException as error:
            fail(cache, flight, error, not isinstance(error, Exception))
            raise
        if not kept:
            pass_on(cache, flight, value)
            return value
    deliver(cache, flight, value, life)
    return value


cdef bint pass_on(MemoryCache cache, Flight flight, object value) except -1:
    """It lands, and nothing is stored; what it was to replace goes all the same."""
    if flight.overtakes and not flight.detached:
        discard(cache, flight.key)
    if not flight.quiet:
        book(cache, flight, False)
    store_enter(&cache.store)
    flights_remove(&cache.flights, flight)
    flight.detached = True
    store_leave(&cache.store)
    flight.land(value, None)
    return True


cdef bint fits(MemoryCache cache, object key, object value) except -1:
    # What is too heavy for the memory is no error: it is in another tier.
    if cache.weigher is None:
        return True
    weight = cache.weigher(key, value)
    return not isinstance(weight, int) or weight <= cache.store.max_weight


cdef ThreadFlight new_flight(object key):
    cdef ThreadFlight flight = ThreadFlight.__new__(ThreadFlight)
    flight.take_off(key, mix(key_hash(<PyObject *> key)))
    return flight


def load_in_thread(MemoryCache cache not None, object key, load, bint fresh, patience):
    """What `load()`, which returns a `Loaded`, has loaded; unless the key has a value or another thread is loading it.

    `fresh`: it is loaded whatever there is or is under way. `patience`: seconds to wait for another thread's load; then
    it raises OutOfPatience.
    """
    cdef ThreadFlight flight, mine
    while True:
        mine = new_flight(key)
        mine.lonely = fresh     # who asks for the key meanwhile has no part in its failure
        flight = <ThreadFlight> board(cache, mine, FRESH if fresh else SHARED)
        if flight is mine:
            if mine.landed:
                return mine.value
            try:
                value = load()
            except BaseException as error:
                fail(cache, mine, error, not isinstance(error, Exception))
                raise
            return land(cache, mine, value, NEVER)
        if flight.wait(patience):
            if flight.error is not None:
                raise for_another_thread(flight.error).with_traceback(flight.traceback)
            return flight.value
        if not is_raised(&flight.landed):
            raise OutOfPatience


def begin(MemoryCache cache not None, object key, bint writes=False, bint loads=False):
    """A read that nobody else waits for, or a write that overtakes all loads and writes of its key; see `end`.

    `loads`: it is part of a load, and shares its fate where loads are spared (trust.pyx).
    """
    cdef ThreadFlight flight = new_flight(key)
    flight.lonely = True
    flight.quiet = not loads
    return board(cache, flight, FRESH if writes else LONELY)


def end(MemoryCache cache not None, Flight flight not None, Loaded loaded):
    """It has come to this, or to nothing. False if it was overtaken meanwhile: then nothing is stored."""
    cdef bint overtaken = flight.detached
    if loaded is None:
        strike(cache, flight)
        return False
    land(cache, flight, loaded, NEVER)
    return not flight.detached if loaded.kept else not overtaken
