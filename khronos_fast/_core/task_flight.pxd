from khronos_fast._core.flight cimport Flight


cdef class Node:
    cdef list waits             # the nodes of the loads that tasks within this one wait for
    cdef bint landed


cdef class TaskFlight(Flight):
    cdef object loop
    cdef object task            # runs the load
    cdef int over               # its task has come to its end
    # The futures of those who wait, as keys.
    cdef dict for_landing
    cdef dict for_the_end
    cdef Node node

    cdef bint stands_still(self) except -1
    cdef bint has_come(self, dict waiters) noexcept
    cdef bint wake(self) except -1
    cdef bint end(self) except -1
