# Whether the interpreter is on its way out: modules may be gone by then.

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030D0000
      #define kf_is_finalizing Py_IsFinalizing
    #else
      #define kf_is_finalizing _Py_IsFinalizing
    #endif
    """
    bint is_finalizing "kf_is_finalizing"() noexcept
