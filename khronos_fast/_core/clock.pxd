# Monotonic time in integer nanoseconds.
#
# Two clocks of one time line. The fine one costs some 20 ns; the coarse one some 5 ns, because the kernel only hands
# out the time of its last tick: it lags behind the fine one, by a tick and at times more (a tick comes late where the
# processor that counts them is not given time), and never runs ahead. So an expiry is stamped with the fine clock, and
# the coarse one is asked first whether it is still far off. Only within CLOSE of it does the fine one have to decide:
# an entry is then neither dropped early nor served late. Where the tick is longer than 4 ms, or there is no such clock,
# the coarse one is the fine one.
#
# Most of what the fine clock costs is its reading the processor's time stamp counter in order, for which everything
# before has to be finished. A stamp need not be that exact. So whoever stamps often keeps one reading of the clock and
# the counter, and for the next 100 µs adds what the counter, read out of order, has advanced since: on Linux on x86-64,
# where the kernel itself keeps its time by that counter, having checked that all processors have the same. The counter
# is read before and after the clock, and the reading is not counted on from where more than 2,000 ticks (less than a
# microsecond) lie between: there the thread had lost its processor. So a stamp is behind by less than a microsecond and
# the 50 ns that a rate wrong by 500 ppm, the most to which clocks are slewed, makes in 100 µs; and never ahead by more.

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
      #include <string.h>
      #include <time.h>
      static inline int64_t kf_clock_read(clockid_t id) {
          struct timespec t;
          clock_gettime(id, &t);
          return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
      }
      static inline int64_t kf_fine_now(void) { return kf_clock_read(CLOCK_MONOTONIC); }
      #ifdef CLOCK_MONOTONIC_COARSE
        static clockid_t kf_coarse_clock = CLOCK_MONOTONIC;
        static void kf_coarse_setup(void) {
            struct timespec tick;
            if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) == 0 && tick.tv_sec == 0 && tick.tv_nsec <= 4000000)
                kf_coarse_clock = CLOCK_MONOTONIC_COARSE;
        }
        static inline int64_t kf_coarse_now(void) { return kf_clock_read(kf_coarse_clock); }
      #else
        #define kf_coarse_setup() ((void)0)
        #define kf_coarse_now kf_fine_now
      #endif
    #endif

    typedef struct { int64_t when; uint64_t ticks; } kf_moment;
    #if defined(__linux__) && defined(__x86_64__)
      #include <stdio.h>
      #define KF_COUNTED_NS 100000
      static kf_moment kf_start;                /* from which on the counter's rate is measured */
      static uint64_t kf_ns_per_tick = 0;       /* in units of 2^-32; 0: not known yet */
      static uint64_t kf_counted_ticks = 0;     /* how long a moment can be counted on from; 0: not at all */
      static int kf_counter_trusted = 0;
      /* ticks is 0, and so long past, where clock and counter were read too far apart. */
      static inline kf_moment kf_moment_now(void) {
          uint64_t before = __builtin_ia32_rdtsc();
          kf_moment moment;
          moment.when = kf_fine_now();
          moment.ticks = __builtin_ia32_rdtsc();
          if (moment.ticks - before > 2000) moment.ticks = 0;
          return moment;
      }
      static void kf_counter_setup(void) {
          int tries = 0;
          char name[8] = "";
          FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "r");
          if (file != NULL) {
              /* "tsc" and the end of the line; not "tsc-early" */
              kf_counter_trusted = fgets(name, sizeof(name), file) != NULL && !strncmp(name, "tsc", 3) && name[3] < ' ';
              fclose(file);
          }
          do kf_start = kf_moment_now(); while (kf_start.ticks == 0 && ++tries < 10);
      }
      static inline int64_t kf_stamp_now(kf_moment *latest) {
          uint64_t counted = __atomic_load_n(&kf_counted_ticks, __ATOMIC_ACQUIRE);
          if (counted != 0) {
              uint64_t ticks = __builtin_ia32_rdtsc() - latest->ticks;
              if (ticks < counted) return latest->when + (int64_t)(ticks * kf_ns_per_tick >> 32);
              *latest = kf_moment_now();
              return latest->when;
          }
          *latest = kf_moment_now();
          if (kf_counter_trusted && kf_start.ticks != 0 && latest->ticks != 0
              && latest->when - kf_start.when > 100000000) {
              /* a tenth of a second or more, between readings that are each good to a microsecond: to 20 ppm */
              double rate = (double)(latest->when - kf_start.when) / (double)(latest->ticks - kf_start.ticks);
              kf_ns_per_tick = (uint64_t)(rate * 4294967296.0);
              __atomic_store_n(&kf_counted_ticks, (uint64_t)(KF_COUNTED_NS / rate), __ATOMIC_RELEASE);
          }
          return latest->when;
      }
    #else
      #define kf_counter_setup() ((void)0)
      #define kf_stamp_now(latest) kf_fine_now()
    #endif
    #ifndef _WIN32
      static void kf_clock_setup(void) {
          kf_coarse_setup();
          kf_counter_setup();
      }
    #endif
    """
    ctypedef struct Moment "kf_moment":
        pass
    # Call once in each module that reads the clocks: what it finds out is kept a copy a module.
    void clock_setup "kf_clock_setup"() noexcept nogil
    int64_t fine_now "kf_fine_now"() noexcept nogil
    int64_t coarse_now "kf_coarse_now"() noexcept nogil
    # The fine clock for one who stamps often, and keeps a moment for this, in zeroed memory.
    int64_t stamp_now "kf_stamp_now"(Moment *latest) noexcept nogil

cdef enum:
    CLOSE = 250_000_000     # nanoseconds; many times more than the coarse clock ever lags
