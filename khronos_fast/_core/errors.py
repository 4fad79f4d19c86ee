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


class PoolTimeout(KhronosError, TimeoutError):  # noqa: N818
    """No resource came free, or could be opened, within the time that the borrower had.

    Where opening one has failed meanwhile, its error is the `__cause__`.
    """


class PoolClosed(KhronosError, RuntimeError):  # noqa: N818
    """The pool has been closed, before the call or while it waited."""


class PoolExhausted(KhronosError, RuntimeError):  # noqa: N818
    """As many borrowers wait as may (`max_waiting`), so this one was turned away at once."""


class NotBorrowed(KhronosError, ValueError):  # noqa: N818
    """What was released is not out: it is not the pool's, or has been released before."""


class WrongLoop(KhronosError, RuntimeError):  # noqa: N818
    """An `AsyncPool` was used in one event loop while it belongs to another one that is still open."""
