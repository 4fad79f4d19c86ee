# What it takes to be a coroutine in C: to end with a value without an exception that carries it wherever the
# interpreter lets one, to warn when it was never awaited, and the slots of the type.

from cpython.object cimport PyObject

cdef extern from *:
    """
    /* StopIteration with a value, whose reference is taken over. From Python 3.12 on it is how `await` gets a value
       from anything but Python's own coroutines, and making one takes longer than all the rest. So for `await` one is
       kept and used again while nobody else has it: `await` drops it at once. What it carries goes with the coroutine,
       which `await` drops next. */
    static void kf_raise_stop_iteration(PyObject *value) {
        /* By hand, as a tuple or an exception would else be taken apart. */
        PyObject *error = PyObject_CallOneArg(PyExc_StopIteration, value);
        Py_DECREF(value);
        if (error == NULL) return;
        PyErr_SetObject(PyExc_StopIteration, error);
        Py_DECREF(error);
    }
    #if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
      static PyStopIterationObject *kf_kept = NULL;
      static inline int kf_kept_is_ours(void) { return kf_kept != NULL && Py_REFCNT(kf_kept) == 1; }
      static inline int kf_is_clean(PyStopIterationObject *error) {
          return error->traceback == NULL && error->context == NULL && error->cause == NULL && error->dict == NULL;
      }
      static void kf_stop_iteration(PyObject *value) {
          PyStopIterationObject *error = kf_kept;
          PyObject *older;
          if (kf_kept_is_ours() && kf_is_clean(error)) {
              Py_INCREF(error);
          } else {
              error = (PyStopIterationObject *)PyObject_CallNoArgs(PyExc_StopIteration);
              if (error == NULL) {
                  Py_DECREF(value);
                  return;
              }
              Py_XSETREF(kf_kept, (PyStopIterationObject *)Py_NewRef((PyObject *)error));
          }
          /* From here on it is not free to be used by whatever the older value's end sets off. */
          older = error->value;
          error->value = value;
          Py_XDECREF(older);
          PyErr_SetRaisedException((PyObject *)error);
      }
      static inline void kf_forget_value(void) {
          if (kf_kept == NULL || kf_kept->value == NULL) return;
          /* Somebody has kept it, or has caught it in Python code: then it is theirs. */
          if (!kf_kept_is_ours() || !kf_is_clean(kf_kept)) Py_CLEAR(kf_kept);
          else Py_CLEAR(kf_kept->value);
      }
    #else
      #define kf_stop_iteration kf_raise_stop_iteration
      #define kf_forget_value() ((void)0)
    #endif
    static void kf_warn_never_awaited(PyObject *function) {
        PyObject *name;
    #if PY_VERSION_HEX >= 0x030C0000
        PyObject *error = PyErr_GetRaisedException();
    #else
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
    #endif
        name = PyObject_GetAttrString(function, "__qualname__");
        if (name == NULL || PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%S' was never awaited", name) < 0)
            PyErr_WriteUnraisable(function);
        Py_XDECREF(name);
    #if PY_VERSION_HEX >= 0x030C0000
        PyErr_SetRaisedException(error);
    #else
        PyErr_Restore(type, error, traceback);
    #endif
    }
    """
    void warn_never_awaited "kf_warn_never_awaited"(object function) noexcept
    void forget_value "kf_forget_value"() noexcept
    void set_stop_iteration "kf_stop_iteration"(PyObject *value) noexcept
    void raise_stop_iteration "kf_raise_stop_iteration"(PyObject *value) noexcept

cdef extern from "Python.h":
    ctypedef int (*visitproc)(PyObject *, void *) noexcept
    ctypedef int (*traverseproc)(PyObject *, visitproc, void *) noexcept
    ctypedef int (*inquiry)(PyObject *) noexcept
    ctypedef void (*destructor)(PyObject *) noexcept
    ctypedef PyObject *(*unaryfunc)(PyObject *) noexcept
    ctypedef PyObject *(*iternextfunc)(PyObject *) noexcept
    ctypedef int (*sendfunc)(PyObject *, PyObject *, PyObject **) noexcept
    ctypedef struct PyAsyncMethods:
        unaryfunc am_await
        sendfunc am_send
    void PyObject_GC_UnTrack(PyObject *object) noexcept
    ctypedef struct PyTypeObject:
        destructor tp_dealloc
        destructor tp_finalize
        traverseproc tp_traverse
        inquiry tp_clear
        iternextfunc tp_iternext
        PyAsyncMethods *tp_as_async
    int PYGEN_RETURN, PYGEN_NEXT
    int PyIter_Send(PyObject *iterator, PyObject *sent, PyObject **result) except -1

cdef enum State:
    CLOSED
    CREATED         # not awaited yet: it has what it was called with
    ENTERED         # goes on in `inner`
    RUNNING         # it is just being sent something


cdef class Coroutine:
    cdef object inner
    cdef State state
    cdef object __weakref__

    # What a kind of them says:
    cdef PyObject *begin(self) except? NULL
    cdef void drop(self) noexcept
    cdef object called(self)
