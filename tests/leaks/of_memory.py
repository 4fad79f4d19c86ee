"""The memory cache: what tests/memory/test_leaks.py counts references of, by the process's figures too."""

from memory.test_leaks import EXERCISES as BY_NAME
from memory.test_leaks import FAILURES
from memory.test_leaks import World as Counted

from .exercises import EXERCISES, Exercise
from .measure import FEWEST


class Memory(Counted):
    kinds, fewest = ("",), FEWEST

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.cache.clear()

    def settle(self):
        pass


def all_of(functions):
    def run(world):
        for function in functions:
            function(world)

    return run


for name, functions in BY_NAME.items():
    EXERCISES[f"of_memory: {name}"] = Exercise(Memory, ("MemoryCache", f"MemoryCache.{name}"), all_of(functions))
EXERCISES["of_memory: failures"] = Exercise(Memory, (), all_of(FAILURES.values()))
