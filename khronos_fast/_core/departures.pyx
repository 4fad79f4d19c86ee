from khronos_fast._core.removal import RemovalCause, log_failure_of_listener

from cpython.ref cimport Py_DECREF

cdef tuple CAUSE_OF = (
    RemovalCause.EXPIRED,
    RemovalCause.EVICTED,
    RemovalCause.REPLACED,
    RemovalCause.DELETED,
    RemovalCause.INVALIDATED,
    RemovalCause.CLEARED,
)


cdef bint departures_tell(Departures *self, object listener, str name) except -1:
    cdef size_t i
    cdef object interrupt = None
    for i in range(self.count):
        try:
            listener(<object> self.items[i].key, <object> self.items[i].value, CAUSE_OF[<int> self.items[i].cause])
        except Exception:
            # Nothing may leave the loop before all have been told: at the recursion limit, say, there is no way to log.
            try:
                log_failure_of_listener(name)
            except Exception:
                pass
            except BaseException as error:
                interrupt = error
        except BaseException as error:
            interrupt = error       # Ctrl-C is meant for the caller; but first what has begun is finished
        Py_DECREF(<object> self.items[i].key)
        Py_DECREF(<object> self.items[i].value)
    departures_release(self)
    if interrupt is not None:
        raise interrupt
    return True
