"""What `cached` makes of a plain function."""

from cpython.object cimport PyObject

from khronos_fast._core.arguments cimport parse_ttl
from khronos_fast._core.cached_method import CachedMethod

from khronos_fast._core.call_key cimport Call, Rules, Scope, call_key, positional_count, tuple_items
from khronos_fast._core.clock cimport clock_setup
from khronos_fast._core.keys cimport key_hash
from khronos_fast._core.memo cimport (
    Memo,
    PyMethod_New,
    PyObject_Vectorcall,
    ask,
    count,
    install_vectorcall,
    owned,
    recall,
    vectorcallfunc,
)
from khronos_fast._core.memory cimport (
    ABSENT,
    FRESH,
    LONELY,
    SHARED,
    Loader,
    MemoryCache,
    detach_scope,
    discard,
    find_value,
    get_or_load,
    keys_in_scope,
)

clock_setup()


cdef object call_function(CachedFunction memo, PyObject *const *arguments, size_t nargsf, PyObject *names):
    cdef Call call
    cdef PyObject *value
    ask(memo, arguments, positional_count(nargsf), names, &call)
    value = recall(memo, &call)
    if value != NULL:
        return owned(value)
    return compute(memo, call_key(&call), arguments, nargsf, names)


cdef object call_function_by_key(CachedFunction memo, PyObject *const *arguments, size_t nargsf, PyObject *names):
    """The same with `key=`."""
    cdef Call call
    cdef PyObject *value
    cdef object key = PyObject_Vectorcall(<PyObject *> memo.key_function, arguments, nargsf, names)
    cdef PyObject *made = <PyObject *> key
    ask_by_key(memo, &made, &call)
    value = recall(memo, &call)
    if value != NULL:
        return owned(value)
    return compute(memo, call_key(&call), arguments, nargsf, names)


cdef object compute(
    CachedFunction memo, object key, PyObject *const *arguments, size_t nargsf, PyObject *names
):
    """The long way: a miss, or a look-up that needs Python code."""
    cdef Loader loader
    cdef PyObject *value = recall_by_key(memo, key)
    if value != NULL:
        return owned(value)
    loader = Loader(<PyObject *> memo.function, arguments, nargsf, names)
    return get_or_load(memo.memory, key, memo.life, &loader, memo.boarding)


cdef bint ask_by_key(CachedFunction memo, PyObject *const *made, Call *call) except -1:
    try:
        if memo.scope is not None:
            return ask(memo, made, 1, NULL, call)
        call.own = made[0]
        call.hash = key_hash(made[0])
    except TypeError as error:
        raise TypeError(
            f"{memo.name}(): key= must return something hashable, not {type(<object> made[0]).__name__}: {error}"
        ) from error
    return True


cdef PyObject *recall_by_key(CachedFunction memo, object key) except? NULL:
    cdef PyObject *value = find_value(memo.memory, <PyObject *> key)
    if value == ABSENT:
        value = NULL
    if memo.scope is not None:
        count(&memo.misses if value == NULL else &memo.hits)
    return value


cdef class CachedFunction(Memo):
    """What `cached` makes of a function: call it as the function itself.

    It refers to the function as `__wrapped__`, and has its name, documentation and signature.
    """

    def __cinit__(
        self, function, *, MemoryCache cache, maxsize, ttl, key, bint typed, bint single_flight, name
    ):
        module, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
        self.name = name or ".".join(filter(None, (module, qualname))) or type(function).__name__
        self.function = function
        self.key_function = key
        self.rules = Rules(typed, False)
        self.boarding = SHARED if single_flight else LONELY
        if cache is None:
            self.memory = MemoryCache(maxsize, ttl, name=self.name)
        else:
            self.memory = cache
            self.scope = Scope(str(module), str(qualname))
        self.life = self.memory.default_life if ttl is None else parse_ttl(ttl)
        self.vectorcall = <vectorcallfunc> (call_function if key is None else call_function_by_key)

    def __get__(self, instance, owner):
        if instance is None:
            return self
        if instance is owner:
            # Up to Python 3.12 a class method asks like this. From then on it does not ask, and a plain method comes.
            return PyMethod_New(self, instance)
        return CachedMethod(self, instance)

    cdef object key_of(self, tuple arguments, dict keywords):
        cdef Call call
        cdef tuple flat, names
        cdef object key
        cdef PyObject *made
        if self.key_function is None:
            flat = arguments + tuple(keywords.values())
            names = tuple(keywords)
            ask(self, tuple_items(<PyObject *> flat), len(arguments), <PyObject *> names, &call)
        else:
            key = self.key_function(*arguments, **keywords)
            made = <PyObject *> key
            ask_by_key(self, &made, &call)
        return call_key(&call)

    @property
    def cache(self):
        """The `MemoryCache` that holds the results."""
        return self.memory

    def cache_key(self, /, *args, **kwargs):
        """Return the key in `cache` of a call with these arguments."""
        return self.key_of(args, kwargs)

    def cache_delete(self, /, *args, **kwargs):
        """Forget the result of a call with these arguments; True if there was one.

        A load of it that is under way answers those who wait for it, and is not remembered.
        """
        return discard(self.memory, self.key_of(args, kwargs))

    def cache_clear(self):
        """Forget the results of all calls of this function, and set the counters of `cache_info` to zero.

        In proportion to the size of the cache.
        """
        if self.scope is None:
            self.memory.clear()
        else:
            detach_scope(self.memory, self.scope)
            for key in keys_in_scope(self.memory, self.scope):
                discard(self.memory, key)
        self.forget_counts()

    def cache_info(self):
        """Return a `CacheInfo`: hits and misses of this function; maxsize and currsize of its cache, of all of it.

        Of a function with a cache of its own, look-ups in `cache` itself count as well.
        """
        return self.info(self.memory.maxsize)

    def refresh(self, /, *args, **kwargs):
        """Call the function with these arguments now, remember the result in place of an older one, and return it.

        Where it fails, the older one stays. What was being loaded before answers those who wait for it, and is not
        remembered.
        """
        cdef Loader loader
        cdef tuple flat = args + tuple(kwargs.values())
        cdef tuple names = tuple(kwargs)
        loader = Loader(
            <PyObject *> self.function, tuple_items(<PyObject *> flat), len(args),
            <PyObject *> names,
        )
        return get_or_load(self.memory, self.key_of(args, kwargs), self.life, &loader, FRESH)

    def __repr__(self):
        return f"<cached {self.function!r} in {self.memory!r}>"


install_vectorcall(CachedFunction)
