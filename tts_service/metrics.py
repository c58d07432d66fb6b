"""The service's metrics as one: what counts, what is read when a scrape asks, and who answers scrapes."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Gauge, Info, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from tts_service.config import ServiceConfig
from tts_service.late_counts import LateCounts
from tts_service.metrics_admission import AdmissionMetrics
from tts_service.metrics_engine import EngineMetrics, ServiceProcesses, ended_cpu_seconds
from tts_service.metrics_residency import MoveMetrics, ResidencyCollector
from tts_service.metrics_server import MetricsServer
from tts_service.metrics_speech import SpeechMetrics
from tts_service.residency.types import ResidencyReport

PULSE_SECONDS = 0.25


class Metrics:
    """All metrics of one service, in a registry of their own.

    `speech`, `moves`, `admission` and `engine` are told what happens. `is_serving` tells whether the door to speech is
    open, `processes` which others there are of the service.
    """

    def __init__(
        self,
        config: ServiceConfig,
        *,
        version: str,
        is_serving: Callable[[], bool],
        processes: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        # A library-wide switch: they are twice the series, for times that `increase` does not need.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library's.
        self.registry = CollectorRegistry()
        self.speech = SpeechMetrics(self.registry)
        self.moves = MoveMetrics(self.registry)
        self.admission = AdmissionMetrics(self.registry)
        self.engine = EngineMetrics(self.registry)
        self.server = MetricsServer(self.registry, address=config.metrics.address, choose=choose_encoder)
        self._answers = config.metrics.enabled
        about = Info("greenroom_service", "The service.", registry=self.registry)
        about.info({"version": version, "name": config.name})
        limit = Gauge("greenroom_sessions_limit", "Speech sessions at once.", registry=self.registry)
        limit.set(config.limits.sessions)
        serving = Gauge(
            "greenroom_serving",
            "Whether speech is served: not while loading or draining, nor with a broken module.",
            registry=self.registry,
        )
        serving.set_function(is_serving)
        self.registry.register(ServiceProcesses(processes, ended_cpu_seconds))

    def watch(self, report: Callable[[], ResidencyReport], models: Iterable[str]) -> None:
        """Tell from now on where modules are, and of these models that nothing has happened yet."""
        self.speech.expect(models)
        self.registry.register(ResidencyCollector(report))

    def watch_late(self, counts: Callable[[], LateCounts]) -> None:
        """Tell from now on what is captured for several sessions at once, and whether that has failed."""
        steps = Gauge(
            "greenroom_late_steps",
            "Captures for several sessions at once: waiting until several speak, taken, failed (with all after it).",
            ("state",),
            registry=self.registry,
        )
        steps.labels("waiting").set_function(lambda: counts().waiting)
        steps.labels("taken").set_function(lambda: counts().taken)
        steps.labels("failed").set_function(lambda: counts().failed)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Answer scrapes for a block, if that is wanted, and take the pulse of the running event loop meanwhile."""
        if not self._answers:
            yield
            return
        pulse = LoopPulse(asyncio.get_running_loop(), self.speech.lagged)
        self.server.start()
        pulse.start()
        try:
            yield
        finally:
            pulse.stop()
            self.server.close()

    def __repr__(self) -> str:
        return f"<Metrics {self.server!r}>"


class LoopPulse:
    """Measures in an event loop how late it calls back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        lagged: Callable[[float], object],
        *,
        period_seconds: float = PULSE_SECONDS,
    ) -> None:
        self._loop = loop
        self._lagged = lagged
        self._period_seconds = period_seconds
        self._next: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._next = self._loop.call_later(self._period_seconds, self._beat, self._loop.time() + self._period_seconds)

    def stop(self) -> None:
        """End."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _beat(self, due_seconds: float) -> None:
        self._lagged(self._loop.time() - due_seconds)
        self.start()

    def __repr__(self) -> str:
        return f"<LoopPulse {'beats' if self._next is not None else 'rests'}>"
