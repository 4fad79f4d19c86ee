"""The cache's operations: any program of them, on well-behaved keys beside a model, or on hostile ones."""

from . import exact, hostile
from .source import Source


def run(data: bytes) -> None:
    source = Source(data)
    source.pick((exact, hostile)).run(source)
