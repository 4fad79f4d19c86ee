from khronos_fast._core.flight cimport Flight


cdef class TaskFlight(Flight):
    cdef object loop
    cdef object task            # runs the load
    cdef object traceback       # of the error
    cdef dict waiters           # a future of each wait; None: there is only the order
    cdef list waits             # the flights that tasks within this load wait for

    cdef bint stands_still(self) except -1
    cdef bint wake(self) except -1
