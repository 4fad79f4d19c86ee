from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from khronos_fast._core.pattern cimport Pattern, pattern_selects
from khronos_fast._core.slab cimport Slab


cdef int key_matches(const Pattern *pattern, PyObject *key) noexcept:
    return pattern_selects(pattern, key)


cdef int sweep_hides(const Sweep *self, const Slab *slab, uint32_t place) noexcept:
    if slab.entries[place].expiry <= self.now or sweep_is_fresh(self, place):
        return 0
    return pattern_selects(self.pattern, slab.entries[place].key)
