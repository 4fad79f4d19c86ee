from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from khronos_fast._core.departures cimport Departures
from khronos_fast._core.pattern cimport Pattern
from khronos_fast._core.store cimport Store
from khronos_fast._core.sweep cimport Sweep

cdef extern from *:
    """
    #ifndef _WIN32
      #include <time.h>
    #endif
    /* Lets other threads run. Whoever waits for the GIL asks for it only every 5 ms, and whoever is woken because the
       guard is free has lost it again by then; so both are not only let go but left alone for as long as it takes to
       wake up. */
    static void kf_give_way(void) {
    #ifndef Py_GIL_DISABLED
        if (PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL) return;
    #endif
        Py_BEGIN_ALLOW_THREADS
    #ifdef _WIN32
        SwitchToThread();
    #else
        {
            struct timespec moment = {0, 20000};
            nanosleep(&moment, NULL);
        }
    #endif
        Py_END_ALLOW_THREADS
    }
    """
    void give_way "kf_give_way"() noexcept


cdef uint32_t indexed_level(const Pattern *pattern, const char *delimiter, size_t size) noexcept nogil
cdef void store_begin_sweep(Store *self, Sweep *sweep, uint32_t level) noexcept nogil
cdef bint store_sweep(Store *self, Sweep *sweep, Departures *gone) noexcept
cdef void store_sweep_key(Store *self, Sweep *sweep, PyObject *key, Departures *gone) noexcept
cdef bint store_announce(Store *self, Sweep *sweep) noexcept nogil
cdef bint store_begin_prefixes(
    Store *self, uint32_t depth, const char *delimiter, size_t size, const uint64_t *secret
) noexcept
cdef bint store_build_prefixes(Store *self) noexcept
