"""Counts what the daemon did, for `/metrics`: whatever goes into the journal passes here on its way.

Labels are bounded: devices and kinds are few, and of services that come and go under new names no more are told apart
than can be linked at once, several times over.
"""

from collections.abc import Callable

from prometheus_client.metrics import Counter
from prometheus_client.registry import CollectorRegistry

from memory_daemon.journal_records import (
    DecisionMade,
    DeviceEvent,
    Directed,
    Record,
    Refused,
    Sampled,
    ServiceChanged,
)
from memory_daemon.prediction_records import PredictionEnded, PredictionMade
from memory_daemon.predictions import Ground

SERVICES_TOLD_APART = 256
"""Four times as many as can be linked at once."""
OTHERS = "other"
EVENTS = ("xid", "recovery", "unavailable")

Write = Callable[[Record], None]


class RecordMetrics:
    """Counters over the journal's records."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._services: set[str] = set()
        self._records = Counter(
            "greenroom_daemon_records", "Records that were written to the journal.", ("kind",), registry=registry
        )
        self._decisions = Counter(
            "greenroom_daemon_decisions",
            "Decisions with a reason, by what they ask for; one that asks for nothing says why.",
            ("device", "action"),
            registry=registry,
        )
        self._moves = Counter(
            "greenroom_daemon_ordered_moves",
            "Modules that were asked to leave, to come home, or to change where they wait.",
            ("service", "move"),
            registry=registry,
        )
        self._trims = Counter(
            "greenroom_daemon_ordered_trims",
            "Times that a service was asked for what its allocators keep.",
            ("service",),
            registry=registry,
        )
        self._directives = Counter(
            "greenroom_daemon_directives",
            "New directives; in a dry run they are not sent.",
            ("service", "sent"),
            registry=registry,
        )
        self._refusals = Counter(
            "greenroom_daemon_refused_directives", "Directives that a service refused.", ("service",), registry=registry
        )
        self._changes = Counter(
            "greenroom_daemon_link_changes",
            "Times that it came to stand otherwise with a service.",
            ("service", "governed"),
            registry=registry,
        )
        self._predictions = Counter(
            "greenroom_daemon_predictions",
            "Modules that were called home before anybody asked for them, by what led to that.",
            ("ground",),
            registry=registry,
        )
        self._verdicts = Counter(
            "greenroom_daemon_ended_predictions",
            "What became of them: a hit was used in time, a miss was not.",
            ("ground", "outcome"),
            registry=registry,
        )
        self._events = Counter(
            "greenroom_daemon_device_events", "What happened to devices.", ("device", "event"), registry=registry
        )
        for ground in Ground:
            self._predictions.labels(ground.value)
            for outcome in ("hit", "miss"):
                self._verdicts.labels(ground.value, outcome)

    def counted(self, write: Write) -> Write:
        """Return what counts a record and then writes it."""

        def count_and_write(record: Record) -> None:
            self._count(record)
            write(record)

        return count_and_write

    def _count(self, record: Record) -> None:
        self._records.labels(record.kind).inc()
        match record:
            case DecisionMade():
                self._decided(record)
            case Directed():
                self._directives.labels(self._name(record.service), str(record.sent).lower()).inc()
            case Refused():
                self._refusals.labels(self._name(record.service)).inc()
            case Sampled():
                for event in EVENTS:  # A counter that appears with its first event has not risen then.
                    self._events.labels(record.device, event)
            case ServiceChanged():
                self._refusals.labels(self._name(record.service))
                self._changes.labels(self._name(record.service), str(record.governed).lower()).inc()
            case DeviceEvent():
                self._events.labels(record.device, record.event).inc()
            case PredictionMade():
                self._predictions.labels(record.prediction.ground.value).inc()
            case PredictionEnded():
                self._verdicts.labels(record.ground.value, "hit" if record.hit else "miss").inc()
            case _:
                pass

    def _decided(self, record: DecisionMade) -> None:
        ordered = {
            "evict": record.evict,
            "restore": record.restore,
            "to_disk": record.to_disk,
            "to_host": record.to_host,
        }
        actions = [*(["trim"] if record.trim else []), *(move for move, modules in ordered.items() if modules)]
        for action in actions or ["none"]:
            self._decisions.labels(record.device, action).inc()
        for move, modules in ordered.items():
            for named in modules:
                self._moves.labels(self._name(named.rpartition("/")[0]), move).inc()
        for service in record.trim:
            self._trims.labels(self._name(service)).inc()

    def _name(self, service: str) -> str:
        if service not in self._services and len(self._services) >= SERVICES_TOLD_APART:
            return OTHERS
        self._services.add(service)
        return service

    def __repr__(self) -> str:
        return f"<RecordMetrics of {len(self._services)} services>"
