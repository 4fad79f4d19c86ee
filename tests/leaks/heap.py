"""How many bytes the C heap has given out: what `PyMem_RawMalloc` takes is in no count of the interpreter."""

import ctypes
import sys

_FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"]


class _Information(ctypes.Structure):
    """What `mallinfo2` of glibc returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def _find(name):
    """A function of the C library, where it is glibc's."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


_mallinfo2, _malloc_trim = _find("mallinfo2"), _find("malloc_trim")  # the first since 2.33; musl has neither
if _mallinfo2 is not None:
    _mallinfo2.restype = _Information


def heap_bytes():
    """Bytes in use, of all arenas, and those mapped for large blocks; None where the C library does not tell."""
    if _mallinfo2 is None:
        return None
    information = _mallinfo2()
    return information.uordblks + information.hblkhd


def trim():
    """Give back to the system what is free, where that can be asked for."""
    if _malloc_trim is not None:
        _malloc_trim(ctypes.c_size_t(0))
