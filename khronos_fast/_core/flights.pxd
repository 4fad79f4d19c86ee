# The loads under way in one cache, by the hashes of their keys; all in the guard.
#
# A hash table whose chains are linked through the flights themselves, both ways: to begin, to find, and to end one
# takes the same time however many thousand there are, and only the table's growth allocates. It grows to one flight a
# chain on average, and a large one is given back when the last flight has gone. The table holds a reference to each of
# its flights. Who takes one out has another, so that none is freed in the guard.

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t

from khronos_fast._core.flight cimport Flight

cdef enum:
    FEW = 8         # chains to begin with
    MANY = 1024     # more are not kept for nothing

cdef struct Flights:
    PyObject **chains
    uint32_t size           # a power of two, or 0
    uint32_t count


cdef inline PyObject *flights_first(const Flights *self, uint32_t hash) noexcept:
    # Borrowed; the chain, in which there are flights of other hashes, goes on with `next`.
    return NULL if self.count == 0 else self.chains[hash & (self.size - 1)]


cdef inline void flights_link(Flights *self, Flight flight) noexcept:
    cdef PyObject **chain = &self.chains[flight.hash & (self.size - 1)]
    flight.previous = NULL
    flight.next = chain[0]
    if chain[0] != NULL:
        (<Flight> chain[0]).previous = <PyObject *> flight
    chain[0] = <PyObject *> flight


cdef inline bint flights_add(Flights *self, Flight flight) noexcept:
    # False where memory is out; then nothing has changed.
    cdef Flights larger
    cdef PyObject *at
    cdef PyObject *after
    cdef uint32_t i
    if self.count == self.size:
        larger.size = FEW if self.size == 0 else self.size * 2
        larger.count = self.count
        larger.chains = <PyObject **> PyMem_RawCalloc(larger.size, sizeof(PyObject *))
        if larger.chains == NULL:
            return False
        for i in range(self.size):
            at = self.chains[i]
            while at != NULL:
                after = (<Flight> at).next
                flights_link(&larger, <Flight> at)
                at = after
        PyMem_RawFree(self.chains)
        self[0] = larger
    Py_INCREF(flight)
    flights_link(self, flight)
    flight.listed = True
    self.count += 1
    return True


cdef inline void flights_remove(Flights *self, Flight flight) noexcept:
    # Nothing where it has been taken out before.
    if not flight.listed:
        return
    if flight.previous != NULL:
        (<Flight> flight.previous).next = flight.next
    else:
        self.chains[flight.hash & (self.size - 1)] = flight.next
    if flight.next != NULL:
        (<Flight> flight.next).previous = flight.previous
    flight.next = flight.previous = NULL
    flight.listed = False
    self.count -= 1
    if self.count == 0 and self.size > MANY:
        flights_free(self)
    Py_DECREF(flight)


cdef inline void flights_free(Flights *self) noexcept:
    PyMem_RawFree(self.chains)
    self.chains = NULL
    self.size = 0
