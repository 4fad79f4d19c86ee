from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t

cdef extern from *:
    """
    /* A flag that one thread raises, having written what belongs to it, and at which others look, having said that they
       wait. Without the GIL both are sequentially consistent, so that of the two one sees the other. */
    #ifdef Py_GIL_DISABLED
      #define kf_raise_flag(flag) _Py_atomic_store_int(flag, 1)
      #define kf_flag(flag) _Py_atomic_load_int(flag)
    #else
      #define kf_raise_flag(flag) ((void)(*(flag) = 1))
      #define kf_flag(flag) (*(flag))
    #endif
    """
    void raise_flag "kf_raise_flag"(int *flag) noexcept
    bint is_raised "kf_flag"(int *flag) noexcept


cdef class Flight:
    cdef readonly object key
    cdef uint32_t hash          # mixed (keys.pxd)
    cdef long forks             # how many there had been when it began: in a child, who runs the load does not exist
    cdef int64_t started        # fine clock
    cdef object value
    cdef object error           # where it was abandoned, what interrupted it
    cdef object traceback       # of the error, when it landed
    cdef bint abandoned         # who ran the load was interrupted: somebody else should load
    cdef int landed             # to be read by has_landed
    # In the guard of its cache:
    cdef bint lonely            # nobody may wait for it
    cdef bint overtakes         # when it lands, other loads of its key are overtaken once more
    cdef bint quiet             # no load: it is not counted as one
    # Set in the same guarded section as the write that overtook this load: its result is for those who wait, only.
    cdef bint detached
    cdef Py_ssize_t waiting     # those who share it, its first caller included
    # Of those under way in its cache (flights.pxd): neighbours, borrowed.
    cdef PyObject *previous
    cdef PyObject *next
    cdef bint listed

    cdef void take_off(self, object key, uint32_t hash) noexcept
    cdef bint is_alive(self) noexcept
    cdef void land(self, object value, object error) noexcept
    cdef void abandon(self, object interrupt) noexcept
    cdef void call_off(self) noexcept


cdef class ThreadFlight(Flight):
    cdef unsigned long owner    # the thread that runs the load
    cdef list gates             # a lock of each who waits, held until the flight has landed

    cdef void open_gates(self) noexcept
    cdef bint wait(self, object patience=*) except -1
