"""The bench: `python -m khronos_fast.bench` measures this package beside every rival that is installed.

How it measures, and why, is in `rounds`; what it measures is in `groups`; whom it measures is in `contenders`,
`memoizers`, `matchers`, `poolers` and `tiered`.
"""
