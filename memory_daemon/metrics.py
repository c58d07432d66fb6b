"""The daemon's metrics as one: what counts, what is read when a scrape asks, and who answers scrapes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client.metrics import Gauge, Info, disable_created_metrics
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import CollectorRegistry

from memory_daemon.board import Board
from memory_daemon.config import DaemonConfig
from memory_daemon.journal import Journal
from memory_daemon.metrics_board import BoardCollector
from memory_daemon.metrics_records import RecordMetrics
from memory_daemon.metrics_server import MetricsServer
from memory_daemon.metrics_text import text_for
from memory_daemon.metrics_ticks import Pace, TickMetrics


class Metrics:
    """All metrics of one daemon, in a registry of their own; `records` are to be passed what the journal is."""

    def __init__(self, config: DaemonConfig, *, version: str) -> None:
        # A library-wide switch: they are twice the series, for times that `increase` does not need.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # The library's.
        self.registry = CollectorRegistry()
        self.records = RecordMetrics(self.registry)
        self.server = MetricsServer(self.registry, address=config.metrics.address, choose=text_for)
        self._ticks = TickMetrics(self.registry)
        self._answers = config.metrics.enabled
        self._board: Board | None = None
        Info("greenroom_daemon", "The daemon.", registry=self.registry).info({"version": version})
        ProcessCollector(registry=self.registry)

    def watch(self, board: Board, journal: Journal) -> None:
        """Tell from now on what the board shows, and whether the journal can be written."""
        self._board = board
        unwritten = Gauge(
            "greenroom_daemon_journal_unwritten_records",
            "Records that could not be written, since the last one that could.",
            registry=self.registry,
        )
        unwritten.set_function(lambda: journal.lost)
        self.registry.register(BoardCollector(lambda: board.status, unix_clock=time.time))

    def pace(self) -> Pace:
        """Return what the loop rests with, so that its ticks are measured."""
        return Pace(clock=time.monotonic, worked=self._ticked, overslept=self._ticks.lagged)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Answer scrapes for a block, if that is wanted."""
        if not self._answers:
            yield
            return
        self.server.start()
        try:
            yield
        finally:
            self.server.close()

    def _ticked(self, seconds: float) -> None:
        if self._board is not None:
            self._ticks.ticked(seconds, self._board.status)

    def __repr__(self) -> str:
        return f"<Metrics {self.server!r}>"
