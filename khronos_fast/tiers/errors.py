"""The errors of the tiers: each is a `KhronosError` and also the built-in exception that fits."""

from khronos_fast._core.errors import KhronosError


class CodecError(KhronosError, ValueError):
    """A value that the codec does not keep as it is, or a payload that it did not write.

    Of a value, the message says its type and its place, such as `value['rows'][3]`; what it holds is not in it.

    >>> from khronos_fast.tiers.json_codec import JSONCodec
    >>> try:
    ...     JSONCodec().encode({"rows": [1, 2j]})
    ... except ValueError as error:
    ...     print(str(error).partition(",")[0])
    value['rows'][1] is of type complex
    """


class LoaderTimeout(KhronosError, TimeoutError):  # noqa: N818 - the field names errors of this kind by what happened
    """The loader took longer than `loader_timeout`, and there is no older value to serve.

    An async loader has been cancelled. A sync one goes on in the thread that runs it: this is for those who waited.
    """


class RedisUnavailable(KhronosError, ConnectionError):  # noqa: N818
    """Redis can't be reached, does not answer in time, or answers what no Redis does. What happened is the `__cause__`.

    Raised by what needs Redis, such as making a cache with it; a cache in use goes on without. No password is in it.
    """


class RedisURLError(KhronosError, ValueError):
    """What was given as the address of Redis is not one, or leads to a server of another kind.

    The message shows a URL with its password masked.
    """


class CacheClosed(KhronosError, RuntimeError):  # noqa: N818
    """The cache was closed before the call."""


class NotAsked(RedisUnavailable):
    """Redis was not even asked, as it has failed before. For the plans, who then know that nothing is under way."""


class Exhausted(RedisUnavailable):
    """All connections were in use all the time. The server is not to blame."""
