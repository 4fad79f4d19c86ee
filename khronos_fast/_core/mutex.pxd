# A mutex for structures in C that is nothing with the GIL.
#
# Rule for everything between `mutex_enter` and `mutex_leave`, with the GIL as without: no Python code runs, so nothing
# is released to a count of zero, compared, hashed, called or made. With the GIL that rule alone makes the section
# atomic.

cdef extern from *:
    """
    #ifndef Py_GIL_DISABLED
      typedef struct { char nothing; } kf_mutex;
      #define kf_mutex_enter(mutex) ((void)0)
      #define kf_mutex_leave(mutex) ((void)0)
      #define kf_mutex_renew(mutex) ((void)0)
    #else
      typedef PyMutex kf_mutex;
      #define kf_mutex_enter(mutex) PyMutex_Lock(mutex)
      #define kf_mutex_leave(mutex) PyMutex_Unlock(mutex)
      /* In a forked child: whoever held it does not exist here. */
      #define kf_mutex_renew(mutex) ((void)(*(mutex) = (PyMutex){0}))
    #endif
    """
    ctypedef struct Mutex "kf_mutex":
        pass
    void mutex_enter "kf_mutex_enter"(Mutex *mutex) noexcept
    void mutex_leave "kf_mutex_leave"(Mutex *mutex) noexcept
    void mutex_renew "kf_mutex_renew"(Mutex *mutex) noexcept
