"""`lru_cache` and `cache`: what `functools` calls so, with a time to live, at less than its price."""

import functools

from cpython.object cimport PyObject

from khronos_fast._core.arguments cimport parse_ttl
from khronos_fast._core.call_key cimport Call, Rules, call_key, positional_count
from khronos_fast._core.clock cimport clock_setup
from khronos_fast._core.memo cimport (
    Memo,
    PyObject_Vectorcall,
    ask,
    count,
    install_vectorcall,
    owned,
    recall,
    vectorcallfunc,
)
from khronos_fast._core.memory cimport ABSENT, MemoryCache, find_value, keep_or_put, store_value
from khronos_fast._core.slab cimport NEVER

cdef enum:
    UNBOUNDED = 0x7FFFFFFF      # a cache's largest maxsize; memory ends before

clock_setup()


cdef object call_memo(LruCacheFunction memo, PyObject *const *arguments, size_t nargsf, PyObject *names):
    cdef Call call
    cdef PyObject *value
    ask(memo, arguments, positional_count(nargsf), names, &call)
    value = recall(memo, &call)
    if value != NULL:
        return owned(value)
    return compute(memo, arguments, nargsf, names, &call)


cdef object compute(
    LruCacheFunction memo, PyObject *const *arguments, size_t nargsf, PyObject *names, const Call *call
):
    """The long way: a miss, or a look-up that needs Python code."""
    cdef object key = call_key(call)
    cdef PyObject *value = find_value(memo.memory, <PyObject *> key)
    if value != ABSENT:
        return owned(value)
    result = PyObject_Vectorcall(<PyObject *> memo.function, arguments, nargsf, names)
    # Where the function itself, or another thread, has stored this call's result meanwhile, that stays; without a limit
    # it does not. So it is in the standard library.
    if memo.maxsize is None:
        store_value(memo.memory, key, result, memo.life)
    else:
        keep_or_put(memo.memory, key, result, memo.life)
    return result


cdef object call_through(LruCacheFunction memo, PyObject *const *arguments, size_t nargsf, PyObject *names):
    count(&memo.misses)
    return PyObject_Vectorcall(<PyObject *> memo.function, arguments, nargsf, names)


cdef class LruCacheFunction(Memo):
    """What `lru_cache` makes of a function."""

    cdef object maxsize
    cdef object typed

    def __cinit__(self, function, maxsize, typed, ttl):
        if not callable(function):
            raise TypeError(f"lru_cache needs something callable to decorate, not {type(function).__name__}")
        self.function = function
        self.maxsize = maxsize
        self.typed = typed
        self.rules = Rules(bool(typed), True)
        self.life = parse_ttl(ttl)
        if maxsize == 0:
            self.vectorcall = <vectorcallfunc> call_through
        else:
            self.memory = MemoryCache(UNBOUNDED if maxsize is None else min(maxsize, UNBOUNDED), ttl)
            self.vectorcall = <vectorcallfunc> call_memo

    def cache_info(self):
        """Return a `CacheInfo`: hits, misses, maxsize and currsize."""
        return self.info(self.maxsize)

    def cache_clear(self):
        """Forget all results, and set the counters to zero."""
        if self.memory is not None:
            self.memory.clear()
        self.forget_counts()

    def cache_parameters(self):
        """Return what `lru_cache` was given, as a dict."""
        parameters = {"maxsize": self.maxsize, "typed": self.typed}
        if self.life != NEVER:
            parameters["ttl"] = self.life / 1e9
        return parameters

    def __repr__(self):
        return f"<lru_cache of {self.function!r} at {<size_t> <PyObject *> self:#x}>"


install_vectorcall(LruCacheFunction)


def lru_cache(maxsize=128, typed=False, *, ttl=None):
    """Decorate a function to remember its latest results, as `functools.lru_cache` does, with a time to live.

    Everything else is as there: what makes two calls the same, `cache_info()`, `cache_clear()`, `cache_parameters()`,
    `__wrapped__`; use without parentheses, methods, threads (the function may run more than once where several ask for
    a result that is not there yet; `cached` runs it once). A hit costs less than there.

    Args:
        maxsize: the most results it remembers; None: no limit; 0 or less: none.
        typed: whether arguments of different types are different calls even where they are equal.
        ttl: seconds (int, float or timedelta) that a result is remembered; None: until pressed out.

    Raises:
        TypeError, ValueError: for a setting that makes no sense, at decoration; TypeError at a call with an argument
            that has no hash, which it names.

    >>> @lru_cache(maxsize=32, ttl=60)
    ... def square(n):
    ...     return n * n
    >>> square(4), square(4)
    (16, 16)
    >>> square.cache_info()
    CacheInfo(hits=1, misses=1, maxsize=32, currsize=1)
    """
    parse_ttl(ttl)
    if isinstance(maxsize, int):
        maxsize = max(int(maxsize), 0)
    elif callable(maxsize) and isinstance(typed, bool):
        return decorate(maxsize, 128, typed, ttl)
    elif callable(maxsize):
        raise TypeError(f"lru_cache of a function takes True or False as typed, not {typed!r}")
    elif maxsize is not None:
        raise TypeError(f"lru_cache takes an int, a function or None first, not {type(maxsize).__name__}")

    def decorator(user_function):
        return decorate(user_function, maxsize, typed, ttl)

    return decorator


def cache(user_function, /):
    """Decorate a function to remember every result: `lru_cache(maxsize=None)`.

    >>> @cache
    ... def factorial(n):
    ...     return n * factorial(n - 1) if n else 1
    >>> factorial(5), factorial.cache_info().misses
    (120, 6)
    """
    return decorate(user_function, None, False, None)


cdef object decorate(object function, object maxsize, object typed, object ttl):
    return functools.update_wrapper(LruCacheFunction(function, maxsize, typed, ttl), function)
