"""`Memo`: what the functions that `lru_cache` and `cached` make have in common.

A call goes from the interpreter straight to the instance's own C function (PEP 590), finds its value without making an
object of its arguments (`call_key`, `look_up`), and returns it. The type is a method descriptor, so that the
interpreter calls it as a method without making a bound method either.
"""

from khronos_fast._core.call_key cimport reraise, tuple_item
from khronos_fast._core.stats import CacheInfo
from khronos_fast._core.store cimport store_count_look_ups, store_enter, store_leave

cdef extern from *:
    """
    static void kf_set_vectorcall(PyObject *class, Py_ssize_t offset, int descriptor) {
        PyTypeObject *type = (PyTypeObject *)class;
        type->tp_vectorcall_offset = offset;
        type->tp_call = PyVectorcall_Call;
        type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL | (descriptor ? Py_TPFLAGS_METHOD_DESCRIPTOR : 0);
        PyType_Modified(type);
    }
    """
    void kf_set_vectorcall(object class_, Py_ssize_t offset, bint descriptor) noexcept


cdef class Memo:
    """A function that remembers what it returned."""

    def __call__(self, /, *args, **kwargs):
        # For who asks for the method; calls do not come this way.
        return PyVectorcall_Call(self, args, kwargs)

    def __get__(self, instance, owner):
        return self if instance is None else PyMethod_New(self, instance)

    def __reduce__(self):
        return self.__qualname__

    @property
    def _scope(self):
        # For unpickling; with a name that no function's own attributes have.
        return self.scope

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    cdef object info(self, object maxsize):
        cdef uint64_t hits = self.hits, misses = self.misses
        cdef Py_ssize_t size = 0
        if self.memory is not None:
            size = len(self.memory)
            if self.scope is None:
                store_enter(&self.memory.store)
                store_count_look_ups(&self.memory.store, &hits, &misses)
                store_leave(&self.memory.store)
        return CacheInfo(hits - self.hits_before, misses - self.misses_before, maxsize, size)

    cdef void forget_counts(self) noexcept:
        self.hits_before = self.hits
        self.misses_before = self.misses
        if self.memory is not None and self.scope is None:
            store_enter(&self.memory.store)
            store_count_look_ups(&self.memory.store, &self.hits_before, &self.misses_before)
            store_leave(&self.memory.store)


cdef bint refuse(Memo memo, const Call *call) except -1:
    try:
        reraise()
    except TypeError as error:
        where = str(call.hash + 1)
        if call.hash >= call.positional:
            where = repr(<object> tuple_item(call.names, call.hash - call.positional))
        raise TypeError(
            f"{getattr(memo, '__qualname__', memo.function)}(): argument {where} can't be part of a cache's key: "
            f"{error}; pass something hashable, or give cached() a key= that makes a key without it"
        ) from error


cdef void set_vectorcall(object type, Py_ssize_t offset) noexcept:
    kf_set_vectorcall(type, offset, False)


cdef void install_vectorcall(object type) noexcept:
    cdef Memo memo = Memo.__new__(Memo)
    kf_set_vectorcall(type, <char *> &memo.vectorcall - <char *> <PyObject *> memo, True)
