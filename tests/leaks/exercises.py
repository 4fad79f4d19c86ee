"""What is exercised, by the names of `surface`: functions to be repeated, each in a world that it leaves as it was."""

import functools
import inspect
from typing import Any, NamedTuple


class Exercise(NamedTuple):
    world: type
    """A context manager: what the function is given."""
    names: tuple[str, ...]
    function: Any

    def call(self, world):
        """What is repeated. A coroutine function runs in the world's loop."""
        if inspect.iscoroutinefunction(self.function):
            return lambda: world.loop.run_until_complete(self.function(world))
        return functools.partial(self.function, world)


EXERCISES: dict[str, Exercise] = {}


def exercises(world, *what):
    """Register a function that exercises this: "Pool" is making one, "Pool: acquire release" two of its methods."""

    def register(function):
        label = f"{function.__module__.rpartition('.')[2]}: {function.__name__}"
        assert label not in EXERCISES, label
        EXERCISES[label] = Exercise(world, names_of(*what), function)
        return function

    return register


def names_of(*what):
    names = []
    for each in what:
        kind, _, methods = each.partition(": ")
        names += [f"{kind}.{method}" for method in methods.split()] or [kind]
    return tuple(names)
