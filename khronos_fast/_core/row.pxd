cdef class Columns:
    cdef readonly tuple names
    cdef dict places            # of each name, made when first needed

    cdef Py_ssize_t place(self, object name) except -1


cdef class Row:
    cdef Columns columns
    cdef tuple values
