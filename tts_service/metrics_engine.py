"""Tells of the engine's process, for `/metrics`, and of all processes of the service as if they were one.

In one process the names are the same: no engine is started again there, and there is no spare process.
"""

import resource
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

ADDED_UP = ("process_virtual_memory_bytes", "process_resident_memory_bytes", "process_open_fds")
"""What is the sum over processes; memory that they share counts for each."""


class EngineMetrics:
    """What became of engines."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._restarts = Counter(
            "greenroom_engine_restarts",
            "Times that the engine's process died; it is started again.",
            registry=registry,
        )
        self._start_seconds = Gauge(
            "greenroom_engine_start_seconds", "How long the engine's last start in its process took.", registry=registry
        )
        self._spare = Gauge(
            "greenroom_engine_spare", "Whether a spare process has imported all for the next engine.", registry=registry
        )

    def restarted(self) -> None:
        """Count a restart."""
        self._restarts.inc()

    def came(self, seconds: float) -> None:
        """Note how long the last start took."""
        self._start_seconds.set(seconds)

    def watch(self, has_spare: Callable[[], bool]) -> None:
        """Tell from now on whether there is a spare process that is prepared."""
        self._spare.set_function(has_spare)

    def __repr__(self) -> str:
        return "<EngineMetrics>"


class ServiceProcesses(Collector):
    """The usual metrics of a process, for this one and its children together.

    `children` are those that run; `ended_cpu_seconds` is what ended ones have used. The time used never falls.
    """

    def __init__(self, children: Callable[[], Iterable[int]], ended_cpu_seconds: Callable[[], float]) -> None:
        self._children = children
        self._ended_cpu_seconds = ended_cpu_seconds
        self._told_cpu_seconds = 0.0

    def collect(self) -> Iterator[Metric]:
        """Yield what is."""
        ended_cpu_seconds = self._ended_cpu_seconds()
        others = [_values(pid) for pid in self._children()]
        own = _values("self")
        for name, value in own.items():
            sums = value + sum(each.get(name, 0.0) for each in others)
            if name == "process_cpu_seconds":
                # One that was seen off a moment ago is in neither sum; the next scrape has it.
                self._told_cpu_seconds = max(self._told_cpu_seconds, sums + ended_cpu_seconds)
                yield CounterMetricFamily(name, "CPU time of the service's processes.", self._told_cpu_seconds)
            elif name in ADDED_UP:
                yield GaugeMetricFamily(name, "Of the service's processes, added up.", sums)
            else:
                yield GaugeMetricFamily(name, "Of the service's first process.", value)

    def __repr__(self) -> str:
        return "<ServiceProcesses>"


def _values(pid: int | str) -> dict[str, float]:
    """Return a process's numbers by name; none of one that has gone."""
    found = ProcessCollector(registry=None, pid=lambda: pid).collect()
    return {metric.name: metric.samples[0].value for metric in found if metric.samples}


def ended_cpu_seconds() -> float:
    """Return the CPU time of children that have ended and were seen off."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
