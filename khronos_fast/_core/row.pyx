"""`Row`: one row of a query's result, by index and by name.

A driver hands rows out as tuples. A `Row` is such a tuple beside the names of its columns, which all rows of a result
share; so what it costs is one small object, and names are looked up only where they are used.
"""

from collections.abc import Sequence

cimport cython

from khronos_fast._core.guard cimport FREE_THREADED


@cython.final
cdef class Columns:
    """The names of the columns of a result, in order.

    >>> Columns(("id", "name")).names
    ('id', 'name')
    """

    def __init__(self, names):
        self.names = tuple(names)
        for name in self.names:
            if not isinstance(name, str):
                raise TypeError(f"names of columns are str, not {type(name).__name__}")

    cdef Py_ssize_t place(self, object name) except -1:
        if self.places is None:
            # Of columns with the same name the first one counts, as everywhere.
            places = {}
            for i, each in enumerate(self.names):
                places.setdefault(each, i)
            self.places = places
        found = self.places.get(name)
        if found is None:
            raise KeyError(f"the row has no column {name!r}; it has {', '.join(map(repr, self.names)) or 'none'}")
        return found

    def __eq__(self, other):
        return isinstance(other, Columns) and self.names == (<Columns> other).names

    def __hash__(self):
        return hash(self.names)

    def __reduce__(self):
        return Columns, (self.names,)

    def __repr__(self):
        return f"Columns({self.names!r})"


@cython.final
@cython.collection_type("sequence")     # `match` takes it apart as one
@cython.freelist(64)
cdef class Row:
    """One row of a result: a sequence of its values, which `row["name"]` finds by the name of their column as well.

    It is equal to a row of the same names and values, and to the tuple of its values. Of several columns with the same
    name, the name means the first one. An unknown name is a `KeyError`, an index out of range an `IndexError`.

    >>> row = Row(Columns(["id", "name"]), (1, "Ada"))
    >>> row[0], row["name"], row[-1], row.keys()
    (1, 'Ada', 'Ada', ['id', 'name'])
    >>> number, name = row
    >>> dict(row), row == (1, "Ada")
    ({'id': 1, 'name': 'Ada'}, True)
    """

    def __init__(self, Columns columns not None, values):
        cdef tuple own = tuple(values)
        if len(own) != len(columns.names):
            raise ValueError(f"{len(columns.names)} columns want as many values, not {len(own)}")
        self.columns = columns
        self.values = own

    def keys(self):
        """Return the names of the columns, in order."""
        return list(self.columns.names)

    def as_dict(self):
        """Return a dict of the names and values."""
        return {name: self[name] for name in self.columns.names}

    def index(self, *arguments):
        """Return the first place of a value, as `tuple.index`."""
        return self.values.index(*arguments)

    def count(self, value):
        """Return how often a value occurs, as `tuple.count`."""
        return self.values.count(value)

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.values[self.columns.place(key)]
        return self.values[key]

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return iter(self.values)

    def __reversed__(self):
        return reversed(self.values)

    def __contains__(self, value):
        return value in self.values

    def __eq__(self, other):
        if isinstance(other, Row):
            return self.values == (<Row> other).values and self.columns == (<Row> other).columns
        if isinstance(other, tuple):
            return self.values == other
        return NotImplemented

    def __hash__(self):
        return hash(self.values)

    def __copy__(self):
        return self

    def __reduce__(self):
        return Row, (self.columns, self.values)

    def __repr__(self):
        fields = (f"{name}={value!r}" for name, value in zip(self.columns.names, self.values))
        return f"Row({', '.join(fields)})"


Sequence.register(Row)


# The same statement is often run again. Only with the GIL: without it, threads would race for the reference.
cdef Columns _latest = None


def rows_of(description, list tuples not None):
    """Return a `Row` for each tuple that a driver has fetched. `description` is the cursor's, as DB-API has it."""
    global _latest
    cdef Columns columns
    cdef Columns latest = None if FREE_THREADED else _latest
    cdef Row row
    cdef list rows = []
    names = tuple([(<tuple> each)[0] if type(each) is tuple else each[0] for each in description])
    if latest is not None and latest.names == names:
        columns = latest
    else:
        columns = Columns(names)
        if not FREE_THREADED:
            _latest = columns
    for each in tuples:
        row = Row.__new__(Row)
        row.columns = columns
        row.values = each
        rows.append(row)
    return rows
