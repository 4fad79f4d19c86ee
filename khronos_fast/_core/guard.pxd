# Who may touch the structures of a cache: many that look up, or one that changes. Empty with the GIL.
#
# Rule for everything between `enter` and `leave`, with the GIL as without: no Python code runs, so nothing is released
# to a count of zero, compared by a foreign __eq__, hashed, called or allocated from Python's heap. With the GIL that
# rule alone makes the section atomic, and the guard compiles to nothing.
#
# Without the GIL, a thread that looks up marks its own lane busy, sees that nobody is changing, and reads; lanes are a
# cache line and more apart, so that look-ups on two cores share nothing that is written. A thread that changes takes
# the mutex, announces itself and waits until each lane is idle. (Dekker's handshake: both write their own flag before
# they read the other's, all sequentially consistent, so at least one of them sees the other. The same as a
# "distributed" or "big reader" lock; a look-up that meets a writer queues up as one.) A lane is busy for some fifty
# nanoseconds, holds no lock meanwhile and never parks, so that waiting for it spins.
#
# A look-up cannot move its entry to the front of the recency list: it notes the entry and the time in its lane, and
# whoever changes next first replays the notes of all lanes in the order of their times. (Caffeine's read buffer; with
# times, and never lossy: a full lane makes its own thread the one who replays.) For calls that do not overlap the
# order is thus exact. The notes are replayed before anything is removed, so a note never outlives its entry.

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #ifndef Py_GIL_DISABLED
      #define KF_FREE_THREADED 0
      typedef struct { uint64_t hits, misses; } kf_lane;
      typedef struct { kf_lane first; } kf_guard;
      #define kf_guard_enter(guard) ((void)0)
      #define kf_guard_leave(guard) ((void)0)
      #define kf_guard_look(guard) ((kf_lane *)NULL)
      #define kf_guard_looked(lane) ((void)0)
      #define kf_lane_note(lane, when, place) (0)
      #define kf_guard_next_note(guard) (0u)
      #define kf_guard_free(guard) ((void)0)
      #define kf_guard_lane(guard, i) ((i) == 0 ? &(guard)->first : (kf_lane *)NULL)
    #else
      #define KF_FREE_THREADED 1
      #ifdef _WIN32
        #define kf_thread_local __declspec(thread)
        #define kf_yield() SwitchToThread()
      #else
        #include <sched.h>
        #define kf_thread_local _Thread_local
        #define kf_yield() sched_yield()
      #endif
      enum { KF_LANES = 16, KF_NOTES = 64, KF_SPINS = 128 };
      typedef struct { int64_t when; uint32_t place; } kf_note;
      typedef struct {
          uintptr_t busy;
          uint64_t hits, misses;
          uint32_t written, replayed;
          kf_note notes[KF_NOTES];
          char apart[128];
      } kf_lane;
      typedef struct {
          PyMutex mutex;            /* held by the one thread that changes */
          uintptr_t changing;
          uintptr_t crowded;        /* two threads have met in one lane */
          kf_lane *others;          /* KF_LANES - 1 of them, made when it first gets crowded, and never moved */
          kf_lane first;
      } kf_guard;

      static inline uint32_t kf_lane_of_this_thread(void) {
          static uintptr_t threads = 0;
          static kf_thread_local uint32_t mine = 0;      /* from 1 */
          if (mine == 0)
              mine = (uint32_t)(_Py_atomic_add_uintptr(&threads, 1) % KF_LANES) + 1;
          return mine - 1;
      }
      static inline kf_lane *kf_guard_lane(kf_guard *guard, uint32_t i) {
          kf_lane *others = (kf_lane *)_Py_atomic_load_ptr_acquire(&guard->others);
          if (i == 0) return &guard->first;
          return others == NULL || i >= KF_LANES ? NULL : &others[i - 1];
      }
      static inline void kf_guard_looked(kf_lane *lane) { _Py_atomic_store_uintptr_release(&lane->busy, 0); }
      /* A lane to look up in, or NULL: then enter as one who changes. */
      static inline kf_lane *kf_guard_look(kf_guard *guard) {
          kf_lane *lane = kf_guard_lane(guard, kf_lane_of_this_thread());
          if (lane == NULL) lane = &guard->first;
          if (_Py_atomic_exchange_uintptr(&lane->busy, 1)) {
              _Py_atomic_store_uintptr_relaxed(&guard->crowded, 1);
              return NULL;
          }
          if (_Py_atomic_load_uintptr(&guard->changing)) {
              kf_guard_looked(lane);
              return NULL;
          }
          return lane;
      }
      /* True when the lane is full. */
      static inline int kf_lane_note(kf_lane *lane, int64_t when, uint32_t place) {
          uint32_t last = lane->written;
          if (last > 0 && lane->notes[last - 1].place == place) {
              lane->notes[last - 1].when = when;
              return 0;
          }
          lane->notes[last].when = when;
          lane->notes[last].place = place;
          lane->written = last + 1;
          return lane->written == KF_NOTES;
      }
      static inline void kf_wait_until_idle(kf_lane *lane) {
          int spins = 0;
          while (_Py_atomic_load_uintptr(&lane->busy))
              if (++spins > KF_SPINS) kf_yield();
      }
      static inline void kf_guard_enter(kf_guard *guard) {
          uint32_t i;
          PyMutex_Lock(&guard->mutex);
          _Py_atomic_store_uintptr(&guard->changing, 1);
          kf_wait_until_idle(&guard->first);
          if (guard->others != NULL) {
              for (i = 0; i < KF_LANES - 1; i++) kf_wait_until_idle(&guard->others[i]);
          } else if (guard->crowded) {
              _Py_atomic_store_ptr_release(&guard->others, PyMem_RawCalloc(KF_LANES - 1, sizeof(kf_lane)));
          }
      }
      static inline void kf_guard_leave(kf_guard *guard) {
          _Py_atomic_store_uintptr_release(&guard->changing, 0);
          PyMutex_Unlock(&guard->mutex);
      }
      /* The place of the earliest note that has not been replayed; 0 when all have, and the lanes are empty again. */
      static inline uint32_t kf_guard_next_note(kf_guard *guard) {
          kf_lane *lane, *earliest = NULL;
          uint32_t i;
          for (i = 0; (lane = kf_guard_lane(guard, i)) != NULL; i++)
              if (lane->replayed < lane->written
                  && (earliest == NULL
                      || lane->notes[lane->replayed].when < earliest->notes[earliest->replayed].when))
                  earliest = lane;
          if (earliest != NULL) return earliest->notes[earliest->replayed++].place;
          for (i = 0; (lane = kf_guard_lane(guard, i)) != NULL; i++) lane->written = lane->replayed = 0;
          return 0;
      }
      static inline void kf_guard_free(kf_guard *guard) {
          PyMem_RawFree(guard->others);
          guard->others = NULL;
      }
    #endif
    """
    const bint FREE_THREADED "KF_FREE_THREADED"
    ctypedef struct Lane "kf_lane":
        uint64_t hits       # with the GIL, only those of the first lane count
        uint64_t misses
    ctypedef struct Guard "kf_guard":
        Lane first
    void guard_enter "kf_guard_enter"(Guard *guard) noexcept
    void guard_leave "kf_guard_leave"(Guard *guard) noexcept
    Lane *guard_look "kf_guard_look"(Guard *guard) noexcept
    void guard_looked "kf_guard_looked"(Lane *lane) noexcept
    bint lane_note "kf_lane_note"(Lane *lane, int64_t when, uint32_t place) noexcept
    uint32_t guard_next_note "kf_guard_next_note"(Guard *guard) noexcept
    Lane *guard_lane "kf_guard_lane"(Guard *guard, uint32_t i) noexcept
    void guard_free "kf_guard_free"(Guard *guard) noexcept
