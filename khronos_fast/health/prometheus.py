"""The collector's figures for Prometheus, by its own client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

try:
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
        SummaryMetricFamily,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(f"metrics need prometheus_client: pip install 'khronos-fast[prometheus]' ({error})") from error

from khronos_fast._core.histogram import BOUNDS
from khronos_fast.health.collector import HealthCollector
from khronos_fast.health.metrics import FAMILIES, Family, Measure, measure
from khronos_fast.health.totals import Totals

if TYPE_CHECKING:
    from khronos_fast.health.sample import Sample

WORKER = "worker"


class PrometheusCollector(Collector):
    """The figures of a `HealthCollector` for a registry of prometheus_client.

    >>> from khronos_fast import HealthCollector, MemoryCache
    >>> health = HealthCollector("shop", worker="0")
    >>> _ = health.register("projects", MemoryCache(1000))
    >>> registry = CollectorRegistry()
    >>> registry.register(PrometheusCollector(health))
    >>> registry.get_sample_value("khronos_cache_max_size", {"cache": "projects", "worker": "0"}) == 1000
    True
    >>> health.stop()

    Counters never go backwards, and every series has a label `worker`. What the process itself uses is left to
    prometheus_client's own collectors.
    """

    def __init__(self, health: HealthCollector) -> None:
        if not isinstance(health, HealthCollector):
            raise TypeError(f"health must be a HealthCollector, not of type {type(health).__name__}")
        self._health = health
        # Protects what was counted so far, and the order of samples. Inside, nothing but sums: what is foreign has been
        # asked before. Reentrant, as a finalizer may come by.
        self._lock = threading.RLock()
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._totals = Totals()
        self._sample: Sample | None = None
        self._families: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Return the families of the latest sample."""
        if self._pid != os.getpid():
            self._lock = threading.RLock()
            self._start()  # a child counts by itself
        sample = self._health.take_sample()
        with self._lock:
            if self._sample is None or sample.seq > self._sample.seq:
                self._keys: set[Hashable] = set()
                self._families = list(self._measure(sample))
                self._totals.forget(self._keys)
                self._sample = sample
            return self._families

    def describe(self) -> Iterable[Metric]:
        """Return the families without series, so that being registered is no reason to look."""
        return [_family(name, family) for name, family in FAMILIES.items()]

    def _measure(self, sample: Sample) -> Iterator[Metric]:
        families = {name: _family(name, family) for name, family in FAMILIES.items()}
        worker = self._health.worker
        for each in measure(sample.snapshot):
            _add(families[each.family], [*each.labels, worker], self._counted(each, sample))
        return (family for family in families.values() if family.samples)

    def _counted(self, each: Measure, sample: Sample) -> Any:
        if FAMILIES[each.family].kind == "gauge":
            return each.value
        number, can_reset = sample.reading.origins.get((each.group, each.component), (0, False))
        figures = each.value if isinstance(each.value, tuple) else (each.value,)
        keys = [(each.family, each.labels, i) for i in range(len(figures))]
        self._keys.update(keys)
        totals = tuple(
            self._totals.count(key, figure, number, can_reset=can_reset)
            for key, figure in zip(keys, figures, strict=True)
        )
        return totals if isinstance(each.value, tuple) else totals[0]


class Exposition:
    """The text that a scrape gets: the figures above, and those of the process."""

    def __init__(self, health: HealthCollector) -> None:
        self._health = health
        self._collector = PrometheusCollector(health)
        process = CollectorRegistry()
        ProcessCollector(registry=process)
        PlatformCollector(registry=process)
        GCCollector(registry=process)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._collector)
        self._registry.register(_Labelled(process, health))
        # Protects what was written last, so that of many who ask at a time one writes. The client's own code runs
        # inside, and nothing of the user's; a request waits for it in a thread.
        self._lock = threading.RLock()
        self.pid = os.getpid()
        """Of the process that this is for: in a child another one is made."""
        self._written: dict[str, tuple[int, bytes]] = {}

    def ready(self, accept: str) -> tuple[str, bytes] | None:
        """Return what `render` does, where nothing is left to do for it."""
        sample = self._health.sample()
        _encode, kind = _encoder(accept)
        written, text = self._written.get(kind, (-1, b""))
        return (kind, text) if sample is not None and written == sample.seq else None

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return the kind of text that is wanted, and the text. Written once a sample."""
        encode, kind = _encoder(accept)
        seq = self._health.take_sample().seq
        with self._lock:
            written, text = self._written.get(kind, (-1, b""))
            if written < seq:
                text = encode(self._registry)
                self._written = {**self._written, kind: (seq, text)} if len(self._written) < 8 else {kind: (seq, text)}
            return kind, text


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accept)
    except Exception:  # a version that is no number, say
        return choose_encoder("")


class _Labelled(Collector):
    """What other collectors tell, with the label that tells processes apart.

    It is asked once a sample: texts of different kinds are written at different moments, and kept, and none may be
    behind one that was written before.
    """

    def __init__(self, registry: CollectorRegistry, health: HealthCollector) -> None:
        self._registry = registry
        self._health = health
        self._seen: tuple[Sample | None, list[Metric]] = (None, [])

    def collect(self) -> Iterable[Metric]:
        sample = self._health.take_sample()
        seen, families = self._seen
        if seen is not sample:
            families = list(self._registry.collect())
            worker = {WORKER: self._health.worker}
            for metric in families:
                metric.samples = [each._replace(labels={**each.labels, **worker}) for each in metric.samples]
            self._seen = sample, families
        return families


def _family(name: str, family: Family) -> Any:
    labels = [*family.labels, WORKER]
    if family.kind == "counter":
        return CounterMetricFamily(name.removesuffix("_total"), family.help, labels=labels)
    if family.kind == "summary":
        return SummaryMetricFamily(name, family.help, labels=labels)
    if family.kind == "histogram":
        return HistogramMetricFamily(name, family.help, labels=labels)
    return GaugeMetricFamily(name, family.help, labels=labels)


def _add(metric: Any, labels: list[str], value: Any) -> None:
    if isinstance(metric, HistogramMetricFamily):
        *counts, seconds = value
        bounds = [*(str(bound) for bound in BOUNDS), "+Inf"]
        metric.add_metric(labels, buckets=list(zip(bounds, counts, strict=True)), sum_value=seconds)
    elif isinstance(metric, SummaryMetricFamily):
        count, seconds = value
        metric.add_metric(labels, count_value=count, sum_value=seconds)
    else:
        metric.add_metric(labels, value)
