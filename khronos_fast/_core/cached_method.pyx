"""A cached function as the method of an instance."""

from cpython.object cimport PyObject

from khronos_fast._core.memo cimport (
    PyMethod_New,
    PyObject_Vectorcall,
    PyVectorcall_Call,
    set_vectorcall,
    vectorcallfunc,
)


cdef object call_method(CachedMethod self, PyObject *const *arguments, size_t nargsf, PyObject *names):
    return PyObject_Vectorcall(<PyObject *> self.method, arguments, nargsf, names)


# What `instance.method` is where `method` is cached: the instance goes before all arguments, as with any method. Calls
# do not make one of these (the interpreter calls `method` with the instance); only who asks for `instance.method`
# itself, to pass it on or to use its `cache_key`, `cache_delete` or `refresh`. It has no docstring of its own, as that
# of the method would not be found then.
cdef class CachedMethod:
    cdef vectorcallfunc vectorcall
    cdef object method
    cdef readonly object __func__
    cdef readonly object __self__
    cdef object __weakref__

    def __cinit__(self, function, instance):
        self.vectorcall = <vectorcallfunc> call_method
        self.__func__ = function
        self.__self__ = instance
        self.method = PyMethod_New(function, instance)

    def __call__(self, /, *args, **kwargs):
        return PyVectorcall_Call(self, args, kwargs)

    def __getattr__(self, name):
        return getattr(self.__func__, name)

    @property
    def __doc__(self):
        return self.__func__.__doc__

    @property
    def __module__(self):
        return self.__func__.__module__

    @property
    def __wrapped__(self):
        """The function that is not cached; it wants the instance."""
        return self.__func__.__wrapped__

    @property
    def __signature__(self):
        """That of the method, without the instance."""
        import inspect
        return inspect.signature(self.method)

    @property
    def cache(self):
        """The `MemoryCache` that holds the results."""
        return self.__func__.cache

    @property
    def name(self):
        """What logs call it."""
        return self.__func__.name

    def cache_info(self):
        """Return the `CacheInfo` of the method, over all instances."""
        return self.__func__.cache_info()

    def cache_clear(self):
        """Forget the results of the method, of all instances."""
        self.__func__.cache_clear()

    def cache_key(self, /, *args, **kwargs):
        """Return the key of a call with these arguments on this instance."""
        return self.__func__.cache_key(self.__self__, *args, **kwargs)

    def cache_delete(self, /, *args, **kwargs):
        """Forget the result of a call with these arguments on this instance; True if there was one."""
        return self.__func__.cache_delete(self.__self__, *args, **kwargs)

    def refresh(self, /, *args, **kwargs):
        """Call the method with these arguments now, and remember the result in place of an older one."""
        return self.__func__.refresh(self.__self__, *args, **kwargs)

    def __eq__(self, other):
        if not isinstance(other, CachedMethod):
            return NotImplemented
        return self.method == (<CachedMethod> other).method

    def __hash__(self):
        return hash(self.method)

    def __reduce__(self):
        return getattr, (self.__self__, self.__func__.__name__)

    def __repr__(self):
        return f"<method {self.__func__!r} of {self.__self__!r}>"


cdef void install() noexcept:
    cdef CachedMethod method = CachedMethod(print, None)
    set_vectorcall(CachedMethod, <char *> &method.vectorcall - <char *> <PyObject *> method)


install()
