"""What `cached` makes of an `async def` function.

A call returns a coroutine, `CachedCoroutine`, that keeps the arguments and looks them up when it is awaited; a hit ends
it in that same step, without a task, a frame, or an exception that carries the value. A miss goes on in `task_load`,
an ordinary coroutine that everything is passed on to.
"""

import types
from functools import partial

from khronos_fast._core.task_load import load

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, Py_XINCREF

from khronos_fast._core.cached_function cimport CachedFunction, ask_by_key, recall_by_key
from khronos_fast._core.call_key cimport Call, call_key, positional_count, reraise, tuple_item, tuple_items, tuple_size
from khronos_fast._core.clock cimport clock_setup
from khronos_fast._core.coroutine cimport (
    PYGEN_RETURN,
    PyIter_Send,
    PyObject_GC_UnTrack,
    PyTypeObject,
    destructor,
    forget_value,
    inquiry,
    iternextfunc,
    raise_stop_iteration,
    sendfunc,
    set_stop_iteration,
    traverseproc,
    unaryfunc,
    visitproc,
    warn_never_awaited,
)
from khronos_fast._core.memo cimport (
    PyObject_Vectorcall,
    fill_in,
    install_vectorcall,
    owned,
    recall,
    refuse,
    vectorcallfunc,
)
from khronos_fast._core.memory cimport FRESH, Boarding

cdef extern from *:
    """
    #include <frameobject.h>
    /* As a frame for a traceback is made: of an empty code that says where the function is. It never runs. */
    static PyObject *kf_new_frame(const char *file, const char *name, int line) {
        PyObject *frame = NULL, *globals = PyDict_New();
        PyCodeObject *code = PyCode_NewEmpty(file, name, line);
        if (globals != NULL && code != NULL)
            frame = (PyObject *)PyFrame_New(PyThreadState_Get(), code, globals, NULL);
        Py_XDECREF(globals);
        Py_XDECREF(code);
        return frame;
    }
    """
    object new_frame "kf_new_frame"(const char *file, const char *name, int line)

cdef enum:
    AT_HAND = 6     # arguments that a coroutine has room for in itself

cdef enum State:
    CLOSED
    CREATED         # not awaited yet: it has its arguments
    LOADING         # goes on in `inner`
    RUNNING         # it is just being sent something

clock_setup()


cdef object call_coroutine_function(
    CachedCoroutineFunction memo, PyObject *const *arguments, size_t nargsf, PyObject *names
):
    return new_coroutine(memo, arguments, positional_count(nargsf), names, memo.boarding)


cdef class CachedCoroutineFunction(CachedFunction):
    """What `cached` makes of an `async def` function: call it, and await it, as the function itself."""

    # By this and what follows, `inspect` knows it as a coroutine function.
    cdef readonly object __code__

    def __cinit__(self, function, **_):
        self.__code__ = code_of(function)
        self.vectorcall = <vectorcallfunc> call_coroutine_function

    @property
    def __defaults__(self):
        return getattr(self.function, "__defaults__", None)

    @property
    def __kwdefaults__(self):
        return getattr(self.function, "__kwdefaults__", None)

    def refresh(self, /, *args, **kwargs):
        """Return a coroutine: call the function now, remember the result in place of an older one, and return it.

        Where it fails, the older one stays. What was being loaded before answers those who wait for it, and is not
        remembered.
        """
        cdef tuple flat = args + tuple(kwargs.values())
        cdef tuple names = tuple(kwargs)
        return new_coroutine(self, tuple_items(<PyObject *> flat), len(args), <PyObject *> names, FRESH)


install_vectorcall(CachedCoroutineFunction)


cdef object code_of(object function):
    """The code of a coroutine function, in whatever it is wrapped; None if there is none."""
    while isinstance(function, partial):
        function = function.func
    function = getattr(function, "__func__", function)
    for candidate in (function, type(function).__call__):
        code = getattr(candidate, "__code__", None)
        if type(code) is types.CodeType:        # a mock is an instance of whatever is wanted
            return code
    return None


# ---------------------------------------------------------------------- the coroutine

@cython.final
@cython.freelist(64)
cdef class CachedCoroutine:
    """A call of a cached `async def` function. A coroutine like those of Python: to be awaited, once."""

    cdef CachedCoroutineFunction memo
    cdef PyObject **arguments           # positional ones, then those of the keywords; owned, as the names are
    cdef PyObject *at_hand[AT_HAND]
    cdef PyObject *names                # or NULL
    cdef Py_ssize_t positional, count
    cdef object inner                   # what it goes on in where it has to load
    cdef Boarding boarding
    cdef State state
    cdef object __weakref__

    @property
    def __class__(self):
        # Frameworks ask `inspect.iscoroutine`, which asks for the type of Python's own coroutines.
        return types.CoroutineType

    @property
    def __name__(self):
        return of_memo(self, "__name__")

    @property
    def __qualname__(self):
        return of_memo(self, "__qualname__")

    @property
    def cr_code(self):
        """As `coroutine.cr_code`: the code of the function."""
        return of_memo(self, "__code__")

    @property
    def cr_running(self):
        """As `coroutine.cr_running`."""
        return self.state == RUNNING

    @property
    def cr_suspended(self):
        """As `coroutine.cr_suspended`."""
        return self.state == LOADING

    @property
    def cr_await(self):
        """As `coroutine.cr_await`: what it waits for."""
        return self.inner

    @property
    def cr_frame(self):
        """As `coroutine.cr_frame`: None at the end, before that one of the function, at its beginning."""
        code = None if self.state == CLOSED else of_memo(self, "__code__")
        if code is None:
            return None
        file, name = (text.encode(errors="backslashreplace") for text in (code.co_filename, code.co_name))
        return new_frame(file, name, code.co_firstlineno)

    @property
    def cr_origin(self):
        """As `coroutine.cr_origin`; not kept."""
        return None

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
        return owned(result)

    def throw(self, *error):
        """Raise an error where it waits, or at its beginning; as `coroutine.throw`."""
        if self.state != LOADING:
            refuse_to_go_on(self)
            finish(self)
            return nothing().throw(*error)
        self.state = RUNNING
        try:
            result = self.inner.throw(*error)
        except BaseException:
            finish(self)
            raise
        self.state = LOADING
        return result

    def close(self):
        """Never go on; as `coroutine.close`."""
        if self.state == RUNNING:
            refuse_to_go_on(self)
        inner = self.inner
        finish(self)
        if inner is not None:
            inner.close()

    def __repr__(self):
        return f"<coroutine object {self.__qualname__} at {<size_t> <PyObject *> self:#x}>"


cdef object of_memo(CachedCoroutine self, str name):
    """An attribute of the function; None for a coroutine that was not made by calling one, or that was collected."""
    return None if self.memo is None else getattr(self.memo, name)


cdef object new_coroutine(
    CachedCoroutineFunction memo, PyObject *const *arguments, Py_ssize_t positional, PyObject *names, Boarding boarding
):
    cdef CachedCoroutine self = CachedCoroutine.__new__(CachedCoroutine)
    cdef Py_ssize_t i, count = positional + (0 if names == NULL else tuple_size(names))
    self.arguments = self.at_hand
    if count > AT_HAND:
        self.arguments = <PyObject **> PyMem_Malloc(count * sizeof(PyObject *))
        if self.arguments == NULL:
            raise MemoryError
    for i in range(count):
        Py_INCREF(<object> arguments[i])
        self.arguments[i] = arguments[i]
    Py_XINCREF(names)
    self.names = names
    self.positional = positional
    self.count = count
    self.memo = memo
    self.boarding = boarding
    self.state = CREATED
    return self


cdef int step(CachedCoroutine self, PyObject *sent, PyObject **result) except -1:
    """As PyIter_Send: PYGEN_RETURN or PYGEN_NEXT with a new reference, or an error."""
    cdef Call call
    cdef bint filled_in
    if self.state == CREATED and sent == <PyObject *> None:
        self.state = RUNNING
        if self.memo.key_function is None:
            filled_in = fill_in(self.memo, self.arguments, self.positional, self.names, &call)
            if filled_in and self.boarding != FRESH:
                result[0] = recall(self.memo, &call)
                if result[0] != NULL:
                    finish(self)
                    return PYGEN_RETURN
            return go_on(self, sent, result, &call, filled_in)
        return go_on(self, sent, result, NULL, True)
    if self.state != LOADING:
        refuse_to_go_on(self)
        raise TypeError("can't send non-None value to a just-started coroutine")
    self.state = RUNNING
    return go_on(self, sent, result, NULL, True)


cdef int go_on(
    CachedCoroutine self, PyObject *sent, PyObject **result, const Call *call, bint filled_in
) except -1:
    """The long way, and whatever comes after it. `filled_in`: False with an error set."""
    cdef int outcome
    try:
        if self.inner is None:
            if not filled_in:
                refuse(self.memo, call)
            result[0] = begin_by_key(self) if call == NULL else begin(self, call_key(call))
            if result[0] != NULL:
                finish(self)
                return PYGEN_RETURN
        outcome = PyIter_Send(<PyObject *> self.inner, sent, result)
    except BaseException:
        finish(self)
        raise
    if outcome == PYGEN_RETURN:
        finish(self)
    else:
        self.state = LOADING
    return outcome


cdef PyObject *begin_by_key(CachedCoroutine self) except? NULL:
    cdef Call call
    cdef object key = PyObject_Vectorcall(
        <PyObject *> self.memo.key_function, self.arguments, self.positional, self.names
    )
    cdef PyObject *made = <PyObject *> key
    ask_by_key(self.memo, &made, &call)
    return begin(self, call_key(&call))


cdef PyObject *begin(CachedCoroutine self, object key) except? NULL:
    """A new reference to what is remembered; or NULL, and it has to go on in `inner`."""
    cdef PyObject *value
    cdef Py_ssize_t i
    cdef tuple args
    cdef dict kwargs = {}
    if self.boarding != FRESH:
        value = recall_by_key(self.memo, key)
        if value != NULL:
            return value
    args = tuple([<object> self.arguments[i] for i in range(self.positional)])
    for i in range(self.positional, self.count):
        kwargs[<object> tuple_item(self.names, i - self.positional)] = <object> self.arguments[i]
    self.inner = load(
        self.memo.memory, key, self.memo.function, args, kwargs, self.memo.life, self.memo.name, self.boarding
    )
    drop_arguments(self)
    return NULL


cdef inline void finish(CachedCoroutine self) noexcept:
    self.state = CLOSED
    self.inner = None
    drop_arguments(self)


cdef inline void drop_arguments(CachedCoroutine self) noexcept:
    cdef PyObject **arguments = self.arguments
    cdef PyObject *names = self.names
    cdef Py_ssize_t i, count = self.count
    # Dropping one may run Python code that comes back here.
    self.arguments = NULL
    self.names = NULL
    self.count = self.positional = 0
    for i in range(count):
        Py_DECREF(<object> arguments[i])
    Py_XDECREF(names)
    if arguments != self.at_hand:
        PyMem_Free(arguments)


def nothing():
    """Somewhere to raise an error that was thrown in, in whichever of the ways this may be done."""
    yield


cdef bint refuse_to_go_on(CachedCoroutine self) except -1:
    if self.state == RUNNING:
        raise ValueError("coroutine already executing")
    if self.state == CLOSED:
        raise RuntimeError("cannot reuse already awaited coroutine")
    return True


# ---------------------------------------------------------------------- the coroutine's slots

cdef PyObject *iterate(CachedCoroutine self) except? NULL:
    """What `await` calls from Python 3.12 on; up to then it calls `step`."""
    cdef PyObject *result
    if step(self, <PyObject *> None, &result) == PYGEN_RETURN:
        if result != <PyObject *> None:
            set_stop_iteration(result)
        return NULL
    return result


cdef object awaited(CachedCoroutine self):
    if self.state == LOADING:
        raise RuntimeError("coroutine is being awaited already")
    return self


cdef traverseproc attributes_traverse = (<PyTypeObject *> CachedCoroutine).tp_traverse
cdef destructor attributes_dealloc = (<PyTypeObject *> CachedCoroutine).tp_dealloc
cdef inquiry attributes_clear = (<PyTypeObject *> CachedCoroutine).tp_clear


cdef int coroutine_traverse(PyObject *self, visitproc visit, void *arg) noexcept:
    cdef PyObject **arguments = (<CachedCoroutine> self).arguments
    cdef Py_ssize_t i, count = (<CachedCoroutine> self).count
    cdef int stop
    for i in range(count):
        stop = visit(arguments[i], arg)
        if stop:
            return stop
    return attributes_traverse(self, visit, arg)


cdef void coroutine_finalize(PyObject *self) noexcept:
    # The collector's first word, while everything is whole.
    give_up(<CachedCoroutine> self)


cdef void coroutine_dealloc(PyObject *self) noexcept:
    # As `__dealloc__`, which would save and restore the current error every time.
    PyObject_GC_UnTrack(self)
    give_up(<CachedCoroutine> self)
    forget_value()
    attributes_dealloc(self)


cdef int coroutine_clear(PyObject *self) noexcept:
    # An object that is used again after it has been finalized is not finalized another time; so here, too, if it can.
    give_up(<CachedCoroutine> self)
    # What it goes on in is dropped as well; finalizers of others may still come across it.
    (<CachedCoroutine> self).state = CLOSED
    return attributes_clear(self)


cdef inline void give_up(CachedCoroutine self) noexcept:
    if self.state == CREATED:
        self.state = CLOSED
        if self.memo.memory is not None:        # or that has been cleared before
            warn_never_awaited(self.memo)
        drop_arguments(self)


(<PyTypeObject *> CachedCoroutine).tp_traverse = coroutine_traverse
(<PyTypeObject *> CachedCoroutine).tp_clear = coroutine_clear
(<PyTypeObject *> CachedCoroutine).tp_finalize = coroutine_finalize
(<PyTypeObject *> CachedCoroutine).tp_dealloc = coroutine_dealloc
(<PyTypeObject *> CachedCoroutine).tp_iternext = <iternextfunc> iterate
(<PyTypeObject *> CachedCoroutine).tp_as_async.am_await = <unaryfunc> awaited
(<PyTypeObject *> CachedCoroutine).tp_as_async.am_send = <sendfunc> step
