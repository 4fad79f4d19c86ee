"""A coroutine in C, to be awaited once: it ends in its first step, or goes on in one of Python's own.

What it is for says a kind of it: `begin` has the result at once (a new reference) or sets `inner`; `drop` lets go of
what it was called with; `called` is the method whose call it is, for names and warnings.
"""

from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF

from khronos_fast._core.call_key cimport reraise
from khronos_fast._core.finalizing cimport is_finalizing


cdef class Coroutine:
    """A coroutine like those of Python."""

    cdef PyObject *begin(self) except? NULL:
        raise NotImplementedError

    cdef void drop(self) noexcept:
        pass

    cdef object called(self):
        raise NotImplementedError

    def __await__(self):
        return awaited(self)

    def __iter__(self):
        # For `yield from something.__await__()`, as with a future.
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        """Go on, up to the next time it has to wait; as `coroutine.send`."""
        cdef PyObject *result
        if step(self, <PyObject *> value, &result) == PYGEN_RETURN:
            raise_stop_iteration(result)
            reraise()
        returned = <object> result
        Py_DECREF(returned)
        return returned

    def throw(self, *error):
        """Raise an error where it waits, or at its beginning; as `coroutine.throw`."""
        if self.state == CREATED:
            finish(self)
            return nothing().throw(*error)
        if self.state != ENTERED:
            refuse_to_go_on(self)
        self.state = RUNNING
        try:
            result = self.inner.throw(*error)
        except BaseException:
            finish(self)
            raise
        self.state = ENTERED
        return result

    def close(self):
        """Never go on; as `coroutine.close`."""
        if self.state == RUNNING:
            refuse_to_go_on(self)
        inner = self.inner
        finish(self)
        if inner is not None:
            inner.close()

    @property
    def __name__(self):
        return self.called().__name__

    @property
    def __qualname__(self):
        return self.called().__qualname__

    def __dealloc__(self):
        if self.state == CREATED and not is_finalizing():
            warn_never_awaited(self.called())
        forget_value()

    def __repr__(self):
        return f"<coroutine object {self.__qualname__} at {<size_t> <PyObject *> self:#x}>"


cdef inline void finish(Coroutine self) noexcept:
    self.state = CLOSED
    self.inner = None
    self.drop()


cdef bint refuse_to_go_on(Coroutine self) except -1:
    if self.state == RUNNING:
        raise ValueError("coroutine already executing")
    if self.state == CLOSED:
        raise RuntimeError("cannot reuse already awaited coroutine")
    return True


def nothing():
    """Somewhere to raise an error that was thrown in, in whichever of the ways this may be done."""
    yield


cdef object awaited(Coroutine self):
    if self.state == ENTERED:
        raise RuntimeError("coroutine is being awaited already")
    return self


cdef int step(Coroutine self, PyObject *sent, PyObject **result) except -1:
    """As PyIter_Send: PYGEN_RETURN or PYGEN_NEXT with a new reference, or an error."""
    cdef int outcome
    if self.state == CREATED and sent == <PyObject *> None:
        self.state = RUNNING
        try:
            result[0] = self.begin()
        except BaseException:
            finish(self)
            raise
        if result[0] != NULL:
            finish(self)
            return PYGEN_RETURN
    elif self.state != ENTERED:
        refuse_to_go_on(self)
        raise TypeError("can't send non-None value to a just-started coroutine")
    self.state = RUNNING
    try:
        outcome = PyIter_Send(<PyObject *> self.inner, sent, result)
    except BaseException:
        finish(self)
        raise
    if outcome == PYGEN_RETURN:
        finish(self)
    else:
        self.state = ENTERED
    return outcome


cdef PyObject *iterate(Coroutine self) except? NULL:
    """What `await` calls from Python 3.12 on; up to then it calls `step`."""
    cdef PyObject *result
    if step(self, <PyObject *> None, &result) == PYGEN_RETURN:
        if result != <PyObject *> None:
            set_stop_iteration(result)
        return NULL
    return result


# Before any kind of them is made: it inherits these.
(<PyTypeObject *> Coroutine).tp_iternext = <iternextfunc> iterate
(<PyTypeObject *> Coroutine).tp_as_async.am_await = <unaryfunc> awaited
(<PyTypeObject *> Coroutine).tp_as_async.am_send = <sendfunc> step
