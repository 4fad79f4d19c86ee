# Counts of durations by classes: what a histogram is made of (histogram.py has the bounds).
#
# Bounded and exact: a class is found by comparing, from the shortest on, as nearly all that a good pool does is in the
# first classes; the first is decided in place. Whoever has one protects it.

from libc.stdint cimport int64_t, uint64_t

cdef enum:
    DURATION_CLASSES = 17
    SHORTEST = 100_000          # nanoseconds: the first bound

cdef struct Durations:
    uint64_t counts[DURATION_CLASSES]
    int64_t total               # nanoseconds, all together

cdef int duration_class(int64_t time) noexcept nogil
cdef object durations_record(Durations *durations, uint64_t short_ones)


cdef inline void durations_add(Durations *durations, int64_t time) noexcept:
    if time < 0:    # the time was read before somebody else's, who was first in the mutex
        time = 0
    durations.total += time
    durations.counts[0 if time <= SHORTEST else duration_class(time)] += 1


cdef inline void durations_take_back(Durations *durations, int64_t time) noexcept:
    if time < 0:
        time = 0
    durations.total -= time
    durations.counts[duration_class(time)] -= 1
