"""What a call is stored under, and what tells the calls of one function from those of another."""

import importlib

from cpython.object cimport Py_EQ, Py_NE, PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM


cdef tuple NO_NAMES = ()


cdef class Scope:
    """Marks the calls of one function in a cache that several share. Equal to itself alone; pickles by name."""

    def __init__(self, module, qualname):
        self.module = module
        self.qualname = qualname

    def __repr__(self):
        return f"{self.module}.{self.qualname}"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        if find_scope(self.module, self.qualname) is not self:
            import pickle
            raise pickle.PicklingError(f"can't pickle a call of {self!r}: it is not found under that name")
        return find_scope, (self.module, self.qualname)


def find_scope(module, qualname):
    """The scope of the memoized function of that name, for unpickling; None if there is none."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        return None
    for name in qualname.split("."):
        # A plain look-up: a method would come bound, a class method's function wrapped.
        found = getattr(found, "__dict__", {}).get(name)
        found = getattr(found, "__func__", found)
    return getattr(found, "_scope", None)


cdef class CallKey:
    """The key of a call: hashable, and equal to the key of every call that is the same.

    `arguments` holds the positional arguments and then those of the keywords, `names` the keywords.
    """

    def __init__(self):
        raise TypeError("the key of a call is made by the function's cache_key(...)")

    def __hash__(self):
        return self.hash

    def __richcmp__(self, other, int op):
        cdef bint same
        if op not in (Py_EQ, Py_NE) or type(other) is not CallKey:
            return NotImplemented
        same = self is other or equal(self, <CallKey> other)
        return same == (op == Py_EQ)

    def __repr__(self):
        positional = len(self.arguments) - len(self.names)
        parts = [repr(argument) for argument in self.arguments[:positional]]
        parts += [f"{name}={value!r}" for name, value in zip(self.names, self.arguments[positional:])]
        return f"CallKey({', '.join(parts)})" if self.scope is None else f"CallKey({self.scope!r}, {', '.join(parts)})"

    def __reduce__(self):
        return restore, (self.scope, self.arguments, self.names, self.rules.typed, self.rules.ordered)


cdef bint equal(CallKey a, CallKey b) except -1:
    cdef Py_ssize_t positional = len(a.arguments) - len(a.names)
    cdef Py_ssize_t i, j
    if a.hash != b.hash or a.scope is not b.scope or len(a.arguments) != len(b.arguments):
        return False
    if len(a.names) != len(b.names) or a.rules.typed != b.rules.typed or a.rules.ordered != b.rules.ordered:
        return False
    if a.rules.ordered and a.names != b.names:
        return False
    for i in range(len(a.arguments)):
        if i < positional:
            j = i
        elif a.names[i - positional] in b.names:
            j = positional + b.names.index(a.names[i - positional])
        else:
            return False
        if a.rules.typed and type(a.arguments[i]) is not type(b.arguments[j]):
            return False
        # As elements of a tuple are compared: an object is equal to itself whatever its `__eq__` says.
        if a.arguments[i] is not b.arguments[j] and not a.arguments[i] == b.arguments[j]:
            return False
    return True


cdef object call_key(const Call *call):
    if call.own != NULL:
        return <object> call.own
    return compose(call)


cdef CallKey compose(const Call *call):
    cdef CallKey key = CallKey.__new__(CallKey)
    cdef Py_ssize_t i
    cdef tuple arguments = PyTuple_New(call.count)
    for i in range(call.count):
        Py_INCREF(<object> call.arguments[i])
        PyTuple_SET_ITEM(arguments, i, <object> call.arguments[i])
    key.scope = <Scope> call.scope
    key.arguments = arguments
    key.names = NO_NAMES if call.names == NULL else <tuple> call.names
    key.hash = call.hash
    key.rules = call.rules
    return key


def restore(Scope scope, tuple arguments not None, tuple names not None, bint typed, bint ordered):
    """A key that was pickled, or copied; hashes differ between processes."""
    cdef Call call
    call.own = NULL
    call.arguments = tuple_items(<PyObject *> arguments)
    call.names = <PyObject *> names
    call.scope = <PyObject *> scope
    call.count = len(arguments)
    call.positional = len(arguments) - len(names)
    call.rules = Rules(typed, ordered)
    if not call_hashed(&call):
        reraise()
    return compose(&call)
