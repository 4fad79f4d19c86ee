"""Every public name is exercised by the leak tests, or there is a reason that it need not be."""

import pytest

from . import of_memory, test_leaks
from .exercises import EXERCISES
from .surface import surface

_BEHIND = """
    call call_async count_told covers deleted end_doubts hear join look_after look_after_rest news others remember
    remember_to_tell told_namespaces
"""
# Public for the modules beside it: the caches that stand on the tier call them, in every exercise of theirs.
EXCEPTIONS = {f"RedisTier.{name}" for name in _BEHIND.split()}


def exercised():
    assert test_leaks.AREAS  # they have registered what they exercise
    return {name for exercise in EXERCISES.values() for name in exercise.names}


def test_nothing_public_is_left_out():
    assert sorted(surface() - exercised() - EXCEPTIONS) == []


def test_no_name_is_made_up():
    # The memory cache's own tests go through more than it has: operators of others, say.
    made_up = {name for name in exercised() - surface() if not name.startswith("MemoryCache.")}
    assert sorted(made_up | EXCEPTIONS - surface()) == []


@pytest.mark.parametrize("label", [label for label in EXERCISES if EXERCISES[label].world is not of_memory.Memory])
def test_what_is_registered_is_called(label):
    """An exercise has in its code the names that it says it exercises; of special methods that can't be told."""
    exercise = EXERCISES[label]
    methods = {name.rpartition(".")[2] for name in exercise.names if "." in name}
    assert {name for name in methods if not name.startswith("__")} - names_in(exercise.function.__code__) == set()


def names_in(code):
    """All names and texts in it, and in the functions within it."""
    found = {*code.co_names}
    for constant in code.co_consts:
        if isinstance(constant, str):
            found.add(constant)
        elif isinstance(constant, tuple):
            found |= {each for each in constant if isinstance(each, str)}
        elif hasattr(constant, "co_names"):
            found |= names_in(constant)
    return found
