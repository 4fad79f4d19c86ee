"""Counts of durations by classes."""

from khronos_fast._core.histogram import BOUNDS, Histogram

from khronos_fast._core.records cimport new_record

cdef int64_t bounds[DURATION_CLASSES - 1]

if len(BOUNDS) != DURATION_CLASSES - 1 or round(BOUNDS[0] * 1e9) != SHORTEST:
    raise ImportError("the bounds of histogram.py and durations.pxd differ")
for _i in range(DURATION_CLASSES - 1):
    bounds[_i] = round(BOUNDS[_i] * 1e9)


cdef int duration_class(int64_t time) noexcept nogil:
    cdef int i = 0
    while i < DURATION_CLASSES - 1 and time > bounds[i]:
        i += 1
    return i


cdef object durations_record(Durations *durations, uint64_t short_ones):
    """Return a `Histogram` of a copy. `short_ones`: durations of no length, which were not added one by one."""
    cdef int i
    cdef list counts = []
    durations.counts[0] += short_ones
    for i in range(DURATION_CLASSES):
        counts.append(durations.counts[i])
    return new_record(Histogram, (tuple(counts), durations.total / 1e9))
