from libc.stdint cimport int64_t, uint32_t


cdef class Flight:
    cdef readonly object key
    cdef uint32_t hash          # mixed (keys.pxd)
    cdef long forks             # how many there had been when it began: in a child, who runs the load does not exist
    cdef int64_t started        # fine clock
    cdef object value
    cdef object error
    cdef bint abandoned         # who ran the load was interrupted: somebody else should load
    cdef bint landed
    # In the guard of its cache:
    cdef bint lonely            # nobody may wait for it
    # Set in the same guarded section as the write that overtook this load: its result is for those who wait, only.
    cdef bint detached
    cdef Py_ssize_t waiting     # those who share it, its first caller included
    cdef Flight next            # the cache's other loads under way

    cdef void take_off(self, object key, uint32_t hash) noexcept
    cdef bint is_alive(self) noexcept
    cdef void land(self, object value, object error) noexcept
    cdef void abandon(self) noexcept
    cdef void call_off(self) noexcept


cdef class ThreadFlight(Flight):
    cdef unsigned long owner    # the thread that runs the load
    cdef list gates             # a lock of each who waits, held until the flight has landed

    cdef void open_gates(self) noexcept
    cdef bint wait(self) except -1
