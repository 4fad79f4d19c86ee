# How many forks have led to this process: what was made under another count belongs to a parent. Looking costs a load
# and a comparison, and sees forks that Python's own hooks do not.

cdef extern from *:
    """
    static long kf_forks = 0;   /* since this module was imported */
    #ifdef _WIN32
      #define kf_count_forks() ((void)0)
    #else
      #include <pthread.h>
      static void kf_forked(void) { kf_forks++; }
      #define kf_count_forks() ((void)pthread_atfork(NULL, NULL, kf_forked))
    #endif
    """
    const long forks_so_far "kf_forks"
    # Call once in each module that looks: the count is kept a copy a module.
    void count_forks "kf_count_forks"() noexcept
