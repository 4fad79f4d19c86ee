"""The errors of the core: each is a `KhronosError` and also the built-in exception that fits."""


class KhronosError(Exception):
    """The base of every error that this package raises as its own.

    >>> issubclass(LoaderCycle, KhronosError)
    True
    """


class LoaderCycle(KhronosError, RuntimeError):  # noqa: N818 - the field names errors of this kind by what happened
    """A loader needs, itself or through other loaders, the very value that it is loading.

    Raised by the call whose wait would have closed the circle, in place of waiting for ever.
    """
