# Records are named tuples; making one by its name runs a Python function, which costs more than all that it does.

from cpython.object cimport PyObject, PyTypeObject

cdef extern from *:
    """
    /* What a named tuple's own __new__ does in the end. */
    #define kf_new_record(kind, values) PyTuple_Type.tp_new((PyTypeObject *)(kind), values, NULL)
    """
    object kf_new_record(PyObject *kind, tuple values)


cdef inline object new_record(object kind, tuple values):
    """Return a record with all of its fields, in their order."""
    return kf_new_record(<PyObject *> kind, (values,))
