"""The measure itself: it sees what a call leaves behind, of each kind, and nothing where nothing is left."""

import ctypes
import os
import sys
import threading

import pytest

from .heap import heap_bytes
from .measure import leaks


class Thing:
    """An object that the collector knows."""


def test_a_call_that_leaves_nothing():
    assert leaks(lambda: [Thing(), bytearray(5000), b"x" * 300]) == {}


def test_what_is_kept_within_bounds_is_no_leak():
    kept = []

    def call():
        kept.append(Thing())
        if len(kept) > 300:
            del kept[:]

    assert leaks(call, fewest=400) == {}


def test_an_object_a_call_is_seen():
    kept = []
    left = leaks(lambda: kept.append(Thing()))
    assert left["objects"] >= 0.9
    assert not sys.getallocatedblocks() or left["blocks"] >= 0.9


def test_one_that_is_kept_at_every_other_call_is_seen():
    kept = []
    numbers = iter(range(10**9))
    assert "objects" in leaks(lambda: kept.append(Thing()) if next(numbers) % 3 else None)


def test_a_block_that_the_collector_does_not_know_is_seen():
    if not sys.getallocatedblocks():
        pytest.skip("this interpreter, or its allocator, counts no blocks")
    kept = []
    assert "blocks" in leaks(lambda: kept.append(float(len(kept))))


@pytest.mark.parametrize("size", [1, 100, 200_000])
def test_c_memory_is_seen(size):
    if not heap_bytes():
        pytest.skip("the C library does not tell what it has given out: that takes mallinfo2 of glibc 2.33")
    allocate, free = ctypes.pythonapi.PyMem_RawMalloc, ctypes.pythonapi.PyMem_RawFree
    allocate.restype, allocate.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
    kept = []
    try:
        assert leaks(lambda: kept.append(allocate(size)))["heap"] >= size
    finally:
        for pointer in kept:
            free(pointer)


def test_a_file_is_seen():
    if not os.path.isdir("/dev/fd"):
        pytest.skip("this system has no /dev/fd to list")
    kept = []
    try:
        assert leaks(lambda: kept.append(os.open(os.devnull, os.O_RDONLY)))["files"] >= 0.9
    finally:
        for descriptor in kept:
            os.close(descriptor)


def test_a_thread_is_seen():
    end = threading.Event()

    def call():
        threading.Thread(target=end.wait, daemon=True).start()

    try:
        assert leaks(call)["threads"] >= 0.9
    finally:
        end.set()
