"""Measures the loop, for `/metrics`: how long a tick takes, how late it begins, and where memory stood meanwhile."""

from collections.abc import Callable

from prometheus_client.metrics import Counter, Histogram
from prometheus_client.registry import CollectorRegistry

from memory_daemon.board import Status
from memory_daemon.loop import Wakeup
from memory_daemon.types import DeviceId, Fault, Pressure, SampleFailed

TICK_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
"""Seconds: a tick takes one reading, at most 0.1 ms, and what follows from it; 5 s is a driver that hangs."""
GAP_SECONDS = 10.0
"""A longer time between two readings is not counted as spent at the first one's pressure: the machine slept."""


class TickMetrics:
    """What each tick tells; all of it is called by the loop's thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ticks = Histogram(
            "greenroom_daemon_tick_seconds", "Time of one tick.", buckets=TICK_BUCKETS, registry=registry
        )
        self._lag = Histogram(
            "greenroom_daemon_tick_lag_seconds",
            "How much later than it was due a tick began.",
            buckets=TICK_BUCKETS,
            registry=registry,
        )
        self._samples = Counter(
            "greenroom_daemon_samples", "Readings of memory that succeeded.", ("device",), registry=registry
        )
        self._failures = Counter(
            "greenroom_daemon_sample_failures",
            "Readings of memory that failed, by kind of failure.",
            ("device", "fault"),
            registry=registry,
        )
        self._pressure = Counter(
            "greenroom_daemon_pressure_seconds",
            "Time that memory stood so among the marks.",
            ("device", "pressure"),
            registry=registry,
        )
        self._last: dict[DeviceId, tuple[float, Pressure]] = {}

    def ticked(self, seconds: float, status: Status) -> None:
        """Count a tick and what it has read; a reading that was already counted is not counted again."""
        self._ticks.observe(seconds)
        for device in status.devices:
            sample = device.sample
            last_seconds, last_pressure = self._last.get(sample.device, (None, Pressure.UNKNOWN))
            if last_seconds is None:
                self._appear(sample.device)
            elif sample.seconds <= last_seconds:
                continue
            elif sample.seconds - last_seconds <= GAP_SECONDS:
                self._pressure.labels(sample.device, last_pressure.value).inc(sample.seconds - last_seconds)
            self._last[sample.device] = (sample.seconds, device.pressure)
            if isinstance(sample, SampleFailed):
                self._failures.labels(sample.device, sample.fault.value).inc()
            else:
                self._samples.labels(sample.device).inc()

    def lagged(self, seconds: float) -> None:
        """Note how late a tick began."""
        self._lag.observe(max(0.0, seconds))

    def _appear(self, device: DeviceId) -> None:
        """Show a device's counters from the beginning, so that the first failure can be seen to be one."""
        self._samples.labels(device)
        for fault in Fault:
            self._failures.labels(device, fault.value)
        for pressure in Pressure:
            self._pressure.labels(device, pressure.value)

    def __repr__(self) -> str:
        return f"<TickMetrics of {len(self._last)} devices>"


class Pace(Wakeup):
    """A wakeup that tells how long was worked between two rests, and by how much a rest was too long."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        worked: Callable[[float], object],
        overslept: Callable[[float], object],
    ) -> None:
        super().__init__(clock=clock)
        self._worked = worked
        self._overslept = overslept
        self._woke_seconds = clock()

    def rest(self, least_seconds: float, most_seconds: float) -> None:
        """Rest as asked, and tell."""
        began_seconds = self._clock()
        self._worked(began_seconds - self._woke_seconds)
        super().rest(least_seconds, most_seconds)
        self._woke_seconds = self._clock()
        self._overslept(self._woke_seconds - began_seconds - max(least_seconds, most_seconds))
