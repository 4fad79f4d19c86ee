from libc.stdint cimport uint32_t


cdef class Flight:
    cdef readonly object key
    cdef uint32_t hash          # mixed (keys.pxd)
    cdef unsigned long owner    # the thread that runs the loader
    cdef long process           # in a forked child the loader's thread does not exist
    cdef object gate            # a lock that is held until the flight has landed
    cdef object value
    cdef object error
    cdef bint abandoned         # the loader's thread was interrupted: somebody else should load
    cdef bint landed
    # Set in the same guarded section as the write that overtook this load: its result is for those who wait, only.
    cdef bint detached
    cdef Flight next            # the cache's other loads under way

    cdef bint is_alive(self) noexcept
    cdef void land(self, object value, object error) noexcept
    cdef void abandon(self) noexcept
    cdef bint wait(self) except -1
