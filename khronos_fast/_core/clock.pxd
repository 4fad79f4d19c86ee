# Monotonic time in integer nanoseconds.
#
# Two clocks of one time line. The fine one costs some 20 ns; the coarse one some 5 ns, because the kernel only hands
# out the time of its last tick: it lags behind the fine one, by a tick and at times more (a tick comes late where the
# processor that counts them is not given time), and never runs ahead. So an expiry is stamped with the fine clock, and
# the coarse one is asked first whether it is still far off. Only within CLOSE of it does the fine one have to decide:
# an entry is then neither dropped early nor served late. Where the tick is longer than 4 ms, or there is no such clock,
# the coarse one is the fine one.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifdef _WIN32
      #define NOMINMAX
      #ifndef WIN32_LEAN_AND_MEAN
        #define WIN32_LEAN_AND_MEAN
      #endif
      #include <windows.h>
      static int64_t kf_ticks_per_second = 1;
      static void kf_clock_setup(void) {
          LARGE_INTEGER f;
          QueryPerformanceFrequency(&f);
          kf_ticks_per_second = f.QuadPart;
      }
      static inline int64_t kf_fine_now(void) {
          LARGE_INTEGER c;
          QueryPerformanceCounter(&c);
          /* whole seconds and the rest apart: their product with 1e9 would overflow after some minutes */
          return c.QuadPart / kf_ticks_per_second * 1000000000
               + c.QuadPart % kf_ticks_per_second * 1000000000 / kf_ticks_per_second;
      }
      #define kf_coarse_now kf_fine_now
    #else
      #include <time.h>
      static inline int64_t kf_clock_read(clockid_t id) {
          struct timespec t;
          clock_gettime(id, &t);
          return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
      }
      static inline int64_t kf_fine_now(void) { return kf_clock_read(CLOCK_MONOTONIC); }
      #ifdef CLOCK_MONOTONIC_COARSE
        static clockid_t kf_coarse_clock = CLOCK_MONOTONIC;
        static void kf_clock_setup(void) {
            struct timespec tick;
            if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && tick.tv_sec == 0 && tick.tv_nsec <= 4000000)
                kf_coarse_clock = CLOCK_MONOTONIC_COARSE;
        }
        static inline int64_t kf_coarse_now(void) { return kf_clock_read(kf_coarse_clock); }
      #else
        static void kf_clock_setup(void) {}
        #define kf_coarse_now kf_fine_now
      #endif
    #endif
    """
    # Call once in each module that reads the clocks: what it finds out is kept a copy a module.
    void clock_setup "kf_clock_setup"() noexcept nogil
    int64_t fine_now "kf_fine_now"() noexcept nogil
    int64_t coarse_now "kf_coarse_now"() noexcept nogil

cdef enum:
    CLOSE = 250_000_000     # nanoseconds; many times more than the coarse clock ever lags
