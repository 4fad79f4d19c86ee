# Who may touch the structures of a cache: many that look up, or one that changes. Empty with the GIL.
#
# Rule for everything between `enter` and `leave`, with the GIL as without: no Python code runs, so nothing is released
# to a count of zero, compared by a foreign __eq__, hashed, called or made (making an object may start the garbage
# collector, and may raise). With the GIL that rule alone makes the section atomic, and the guard compiles to nothing.
#
# Without the GIL, a thread that looks up marks its own lane busy, sees that nobody is changing, and reads; lanes are a
# cache line and more apart, so that look-ups on two cores share nothing that is written. A thread that changes takes
# the mutex, announces itself and waits until each lane is idle. (Dekker's handshake: both write their own flag before
# they read the other's, all sequentially consistent, so at least one of them sees the other. The same as a
# "distributed" or "big reader" lock; a look-up that meets a writer queues up as one.) A lane is busy for some fifty
# nanoseconds, holds no lock meanwhile and never parks, so that waiting for it spins.
#
# A look-up does not move its entry to the front of the recency list: it notes the entry and the time in its lane, and
# whoever changes next first replays the notes of all lanes in the order of their times. (Caffeine's read buffer; with
# times, and never lossy.) The notes are replayed before anything is removed, so a note never outlives its entry.
#
# A thread whose lane is half full puts things in order itself, under the mutex, while others go on looking: they read
# nothing that this writes. It replays what was noted before it began, and no more: of two calls that do not overlap,
# the later one took its time after the earlier one had published its note, so if the later note is replayed, the
# earlier one has been seen as well. For such calls the order is thus exact.

from libc.stdint cimport int64_t, uint32_t, uint64_t

from khronos_fast._core.prefetch cimport prefetch_to_write  # noqa: F401 - the C below uses it

cdef extern from *:
    """
    #ifndef Py_GIL_DISABLED
      #define KF_FREE_THREADED 0
      typedef struct { uint64_t hits, misses; } kf_lane;
      typedef struct { kf_lane first; } kf_guard;
      #define kf_guard_init(guard) ((void)0)
      #define kf_guard_widen(guard) ((void)0)
      #define kf_guard_enter(guard) ((void)0)
      #define kf_guard_leave(guard) ((void)0)
      #define kf_guard_look(guard) ((kf_lane *)NULL)
      #define kf_guard_looked(lane) ((void)0)
      #define kf_lane_note(lane, when, place) (0)
      typedef char kf_replay;
      #define kf_replay_begin(replay, guard) ((void)(replay))
      #define kf_replay_next(replay, before) (0u)
      #define kf_replay_foresee(replay, ahead) (0u)
      #define kf_replay_end(replay) ((void)0)
      #define kf_guard_forget_notes(guard) ((void)0)
      #define kf_guard_begin_tidying(guard) (0)
      #define kf_guard_end_tidying(guard) ((void)0)
      #define kf_guard_free(guard) ((void)0)
      #define kf_guard_bytes(guard) ((size_t)0)
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
      /* Notes a lane holds before and after two threads have met: the longer, the more rarely one core asks another for
         what it wrote last, and 256 KiB for a cache that is used from several cores at once are little. */
      enum { KF_LANES = 16, KF_NOTES_ALONE = 32, KF_NOTES_CROWDED = 1024, KF_SPINS = 1000 };
      typedef struct { int64_t when; uint32_t place; } kf_note;
      typedef struct { kf_note *notes; uintptr_t room; } kf_ring;       /* room: a power of two */
      static inline kf_note *kf_ring_at(kf_ring ring, uintptr_t i) { return &ring.notes[i & (ring.room - 1)]; }
      typedef struct {
          uintptr_t busy;
          uint64_t hits, misses;
          uintptr_t written;        /* notes ever */
          kf_ring ring;
          char apart[128];          /* what the looking thread writes is above, what the tidying one writes below */
          uintptr_t replayed;
          char apart_too[128];
      } kf_lane;
      /* The notes of all lanes, merged by time. The rings are copied: a look at a lane itself takes its line away from
         the thread that is using it. */
      typedef struct {
          uint32_t lanes, latest;
          kf_lane *lane[KF_LANES];
          kf_ring ring[KF_LANES];
          uintptr_t at[KF_LANES], end[KF_LANES];
      } kf_replay;
      typedef struct {
          PyMutex mutex;            /* held by the one thread that changes, or puts the order of use in order */
          uintptr_t changing;
          uintptr_t tidying;        /* somebody is about to put it in order; the others need not queue for that */
          uintptr_t crowded;        /* two threads have met in one lane */
          kf_lane *others;          /* KF_LANES - 1 of them, from when it gets crowded; never moved */
          char apart[128];          /* all look-ups read what is above, and one of them writes what is below */
          kf_lane first;
          kf_note alone[KF_NOTES_ALONE];
      } kf_guard;

      static inline void kf_guard_init(kf_guard *guard) {
          guard->first.ring.notes = guard->alone;
          guard->first.ring.room = KF_NOTES_ALONE;
      }
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
      /* A lane to look up in, or NULL: then enter as one who changes. A change is over in less time than it takes to
         park a thread and wake it, so it is waited for first. */
      static inline kf_lane *kf_guard_look(kf_guard *guard) {
          int spins = 0;
          kf_lane *lane = kf_guard_lane(guard, kf_lane_of_this_thread());
          if (lane == NULL) lane = &guard->first;
          while (!_Py_atomic_exchange_uintptr(&lane->busy, 1)) {
              if (!_Py_atomic_load_uintptr(&guard->changing)) {
                  if (lane->written - _Py_atomic_load_uintptr_acquire(&lane->replayed) < lane->ring.room) return lane;
                  kf_guard_looked(lane);
                  return NULL;
              }
              kf_guard_looked(lane);
              while (_Py_atomic_load_uintptr_relaxed(&guard->changing))
                  if (++spins > KF_SPINS) return NULL;
          }
          _Py_atomic_store_uintptr_relaxed(&guard->crowded, 1);
          return NULL;
      }
      /* True when the lane is half full. */
      static inline int kf_lane_note(kf_lane *lane, int64_t when, uint32_t place) {
          uintptr_t at = lane->written;
          /* The core that replayed this part of the ring the last time round still has its lines. */
          kf_prefetch_to_write(kf_ring_at(lane->ring, at + 8));
          kf_ring_at(lane->ring, at)->when = when;
          kf_ring_at(lane->ring, at)->place = place;
          _Py_atomic_store_uintptr_release(&lane->written, at + 1);
          return at + 1 - _Py_atomic_load_uintptr_acquire(&lane->replayed) >= lane->ring.room / 2;
      }
      static inline void kf_wait_until_idle(kf_lane *lane) {
          int spins = 0;
          while (_Py_atomic_load_uintptr(&lane->busy))
              if (++spins > KF_SPINS) kf_yield();      /* its thread may have lost its core */
      }
      static inline void kf_guard_enter(kf_guard *guard) {
          uint32_t i;
          PyMutex_Lock(&guard->mutex);
          _Py_atomic_store_uintptr(&guard->changing, 1);
          kf_wait_until_idle(&guard->first);
          if (guard->others != NULL)
              for (i = 0; i < KF_LANES - 1; i++) kf_wait_until_idle(&guard->others[i]);
      }
      #define KF_OTHERS_BYTES ((KF_LANES - 1) * sizeof(kf_lane) + KF_LANES * KF_NOTES_CROWDED * sizeof(kf_note))
      /* By one who changes, when all notes have been replayed: lanes for all, where two threads have met in one. */
      static inline void kf_guard_widen(kf_guard *guard) {
          kf_lane *others;
          kf_note *notes;
          uint32_t i;
          if (guard->others != NULL || !guard->crowded) return;
          others = (kf_lane *)PyMem_RawCalloc(1, KF_OTHERS_BYTES);
          if (others == NULL) return;
          notes = (kf_note *)(others + KF_LANES - 1);
          for (i = 0; i < KF_LANES; i++) {
              kf_lane *lane = i == 0 ? &guard->first : &others[i - 1];
              lane->ring.notes = notes + i * KF_NOTES_CROWDED;
              lane->ring.room = KF_NOTES_CROWDED;
          }
          _Py_atomic_store_ptr_release(&guard->others, others);
      }
      static inline void kf_guard_leave(kf_guard *guard) {
          _Py_atomic_store_uintptr_release(&guard->changing, 0);
          PyMutex_Unlock(&guard->mutex);
      }
      static inline int kf_guard_begin_tidying(kf_guard *guard) {
          if (_Py_atomic_exchange_uintptr(&guard->tidying, 1)) return 0;
          PyMutex_Lock(&guard->mutex);
          return 1;
      }
      static inline void kf_guard_end_tidying(kf_guard *guard) {
          PyMutex_Unlock(&guard->mutex);
          _Py_atomic_store_uintptr_release(&guard->tidying, 0);
      }
      static inline void kf_replay_begin(kf_replay *replay, kf_guard *guard) {
          kf_lane *lane;
          uint32_t i;
          replay->lanes = 0;
          for (i = 0; (lane = kf_guard_lane(guard, i)) != NULL; i++) {
              uintptr_t written = _Py_atomic_load_uintptr_acquire(&lane->written);
              if (written != lane->replayed) {
                  replay->lane[replay->lanes] = lane;
                  replay->ring[replay->lanes] = lane->ring;
                  replay->at[replay->lanes] = lane->replayed;
                  replay->end[replay->lanes++] = written;
              }
          }
      }
      /* A place that will be replayed soon, so that its neighbours can be fetched from the core that had them last: the
         `ahead`th note after this one in its lane; 0 if there is none. */
      static inline uint32_t kf_replay_foresee(kf_replay *replay, uint32_t ahead) {
          uint32_t i = replay->latest;
          return replay->end[i] - replay->at[i] <= ahead
              ? 0 : kf_ring_at(replay->ring[i], replay->at[i] + ahead)->place;
      }
      /* The place of the earliest note from before a moment; 0 when there are no more. */
      static inline uint32_t kf_replay_next(kf_replay *replay, int64_t before) {
          uint32_t i, earliest = KF_LANES;
          for (i = 0; i < replay->lanes; i++)
              if (replay->at[i] != replay->end[i]
                  && kf_ring_at(replay->ring[i], replay->at[i])->when < before) {
                  before = kf_ring_at(replay->ring[i], replay->at[i])->when;
                  earliest = i;
              }
          if (earliest == KF_LANES) return 0;
          replay->latest = earliest;
          return kf_ring_at(replay->ring[earliest], replay->at[earliest]++)->place;
      }
      static inline void kf_replay_end(kf_replay *replay) {
          uint32_t i;
          for (i = 0; i < replay->lanes; i++)
              _Py_atomic_store_uintptr_release(&replay->lane[i]->replayed, replay->at[i]);
      }
      /* By one who takes all entries away: a note never outlives its entry. */
      static inline void kf_guard_forget_notes(kf_guard *guard) {
          kf_lane *lane;
          uint32_t i;
          for (i = 0; (lane = kf_guard_lane(guard, i)) != NULL; i++)
              _Py_atomic_store_uintptr_release(&lane->replayed, lane->written);
      }
      static inline size_t kf_guard_bytes(const kf_guard *guard) { return guard->others == NULL ? 0 : KF_OTHERS_BYTES; }
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
    ctypedef struct Replay "kf_replay":
        pass
    void guard_init "kf_guard_init"(Guard *guard) noexcept nogil
    void guard_widen "kf_guard_widen"(Guard *guard) noexcept
    void guard_enter "kf_guard_enter"(Guard *guard) noexcept
    void guard_leave "kf_guard_leave"(Guard *guard) noexcept
    Lane *guard_look "kf_guard_look"(Guard *guard) noexcept
    void guard_looked "kf_guard_looked"(Lane *lane) noexcept
    bint lane_note "kf_lane_note"(Lane *lane, int64_t when, uint32_t place) noexcept
    bint guard_begin_tidying "kf_guard_begin_tidying"(Guard *guard) noexcept
    void guard_end_tidying "kf_guard_end_tidying"(Guard *guard) noexcept
    void replay_begin "kf_replay_begin"(Replay *replay, Guard *guard) noexcept
    uint32_t replay_next "kf_replay_next"(Replay *replay, int64_t before) noexcept
    uint32_t replay_foresee "kf_replay_foresee"(Replay *replay, uint32_t ahead) noexcept
    void replay_end "kf_replay_end"(Replay *replay) noexcept
    void guard_forget_notes "kf_guard_forget_notes"(Guard *guard) noexcept
    Lane *guard_lane "kf_guard_lane"(Guard *guard, uint32_t i) noexcept
    size_t guard_bytes "kf_guard_bytes"(const Guard *guard) noexcept nogil
    void guard_free "kf_guard_free"(Guard *guard) noexcept
