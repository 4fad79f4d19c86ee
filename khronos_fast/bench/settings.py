"""How big and how long: everything that `--quick` changes, in one place, so that tests can make it tiny."""

from dataclasses import dataclass

MILLISECOND = 1_000_000  # in nanoseconds, the unit of all timing here


@dataclass(frozen=True, slots=True)
class Settings:
    """The sizes of one run; the defaults are those of a full one."""

    rounds: int = 11
    sample_ns: int = 20 * MILLISECOND
    """A sample lasts at least this long, so that a timer interrupt (some µs) stays below a thousandth of it."""
    entries: int = 10_000
    memo_entries: int = 1_000
    """Results that a decorated function remembers: what `cached` does by default. Few functions are given more."""
    fresh_keys: int = 200_000
    """New keys made for each round where every set has to be one of a key not seen before."""
    least_slice: int = 20_000
    """Fewer operations than this are not a fair sample where the mix of hits and misses matters."""
    zipf_keys: int = 100_000
    zipf_requests: int = 200_000
    log_requests: int = 1_000_000
    """A longer request log is cut here, and the output says so."""
    churn_entries: int = 100_000
    """Big enough that an entry outlives its short time to live even in a fast cache, before new ones push it out."""
    pattern_keys: int = 100_000
    """The length of the list that a pattern is asked to select from."""
    pattern_entries: int = 1_000_000
    """Of the caches that are invalidated by pattern: what a scan takes grows with them."""
    scaling_sizes: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    footprint_entries: int = 1_000_000
    footprint_runs: int = 3
    hit_ratio_percents: tuple[float, ...] = (0.1, 1.0, 10.0)
    hit_ratio_runs: int = 3
    """Most policies give the same number each time; moka-py and theine have seeds and timing of their own."""
    thread_counts: tuple[int, ...] = (1, 2, 4)
    thread_sample_ns: int = 200 * MILLISECOND
    """Many times the interpreter's switch interval (5 ms), or threads would just run one after the other."""
    pool_sample_ns: int = 100 * MILLISECOND
    """So short that a few borrowers who are overtaken until the end are more than a hundredth of all waits."""
    spike_borrowers: int = 50
    spike_connect: float = 0.15
    """Seconds that a connection takes to open."""
    spike_runs: int = 3
    """Some rivals open all connections one after the other, which takes seven seconds each time."""
    redis_keys: int = 200
    """Asked for in turn where each takes a round trip."""
    redis_sample_ns: int = 50 * MILLISECOND
    """Hundreds of round trips: each is two switches between processes, and their times vary."""


FULL = Settings()

QUICK = Settings(
    rounds=5,
    sample_ns=5 * MILLISECOND,
    fresh_keys=100_000,
    least_slice=10_000,
    zipf_keys=50_000,
    zipf_requests=100_000,
    log_requests=100_000,
    pattern_keys=10_000,
    pattern_entries=100_000,
    scaling_sizes=(1_000, 10_000, 100_000),
    footprint_entries=200_000,
    footprint_runs=1,
    thread_sample_ns=100 * MILLISECOND,
    spike_runs=1,
    redis_sample_ns=20 * MILLISECOND,
)
