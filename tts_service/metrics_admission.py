"""Counts who was let in to speak, who had to wait, and who was sent away, for `/metrics`."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tts_service.metrics_speech import WAIT_BUCKETS
from tts_service.scheduling.utilisation import Part
from tts_service.scheduling.verdicts import Refusal, Refused
from tts_service.types import Priority

RETRY_BUCKETS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0)
"""Seconds after which clients are told to come back: half a second to a minute, unless it is set otherwise."""


class AdmissionMetrics:
    """The counters of the door; it hears of it as an `AdmissionWatch`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._admitted = Counter(
            "greenroom_admitted", "Speech calls that were let in, by priority.", ("priority",), registry=registry
        )
        self._queued = Counter(
            "greenroom_queued", "Speech calls that had to wait to be let in.", ("priority",), registry=registry
        )
        self._refused = Counter(
            "greenroom_refused",
            "Speech calls that were not let in: the service was full, its client had all it may, or its deadline.",
            ("priority", "refusal"),
            registry=registry,
        )
        self._waits = Histogram(
            "greenroom_admission_wait_seconds",
            "How long calls that were let in had waited for it.",
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._retries = Histogram(
            "greenroom_retry_told_seconds",
            "After how long refused calls were told to come back.",
            buckets=RETRY_BUCKETS,
            registry=registry,
        )
        for priority in Priority:
            self._admitted.labels(priority.value)
            self._queued.labels(priority.value)
            for refusal in Refusal:
                self._refused.labels(priority.value, refusal.value)

    def watch(self, *, waiting: Callable[[], int], busy: Callable[[Part], float]) -> None:
        """Tell from now on how many wait, and how busy each part of the service is."""
        queue = Gauge("greenroom_queue_sessions", "Speech calls that wait to be let in.", registry=self._registry)
        queue.set_function(waiting)
        utilisation = Gauge(
            "greenroom_utilisation",
            "Share of its time that a part worked lately: the lanes of the engine, and the event loop (front).",
            ("part",),
            registry=self._registry,
        )
        for part in Part:
            utilisation.labels(part.value).set_function(_share_of(busy, part))

    def admitted(self, priority: Priority, *, waited_seconds: float) -> None:
        """Count a session that was let in, after so long in the queue."""
        self._admitted.labels(priority.value).inc()
        self._waits.observe(waited_seconds)

    def queued(self, priority: Priority) -> None:
        """Count one that begins to wait."""
        self._queued.labels(priority.value).inc()

    def refused(self, priority: Priority, refused: Refused) -> None:
        """Count one that was sent away."""
        self._refused.labels(priority.value, refused.refusal.value).inc()
        self._retries.observe(refused.retry_after_seconds)

    def __repr__(self) -> str:
        return "<AdmissionMetrics>"


def _share_of(busy: Callable[[Part], float], part: Part) -> Callable[[], float]:
    return lambda: busy(part)
