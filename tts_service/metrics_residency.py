"""Tells where modules are, for `/metrics`: most of it is read when a scrape asks, moves are counted as they happen.

Nothing is asked of the device that takes long: a scrape tells what a report that goes out every second tells.
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tts_service.residency.situation import Move
from tts_service.residency.types import DeviceUsage, ModuleState, ModuleStatus, ResidencyReport, Tier, WaitingUsage

MOVE_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds of a move: 1 ms gives 1 GiB back on an H100, a cold disk takes many."""
PENDING_REASONS = ("leased", "claimed", "budget", "moving", "operator")


class MoveMetrics:
    """The moves that were made."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "greenroom_move_seconds",
            "Time of one module's move between two tiers.",
            ("source", "target"),
            buckets=MOVE_BUCKETS,
            registry=registry,
        )
        self._bytes = Counter(
            "greenroom_moved_bytes",
            "Bytes that moves between two tiers brought, or gave back.",
            ("source", "target"),
            registry=registry,
        )

    def moved(self, move: Move, moved_bytes: int, seconds: float) -> None:
        """Count a move that was made, in the thread that makes them."""
        tiers = (move.source.name.lower(), move.target.name.lower())
        self._seconds.labels(*tiers).observe(seconds)
        self._bytes.labels(*tiers).inc(max(0, moved_bytes))

    def __repr__(self) -> str:
        return "<MoveMetrics>"


class ResidencyCollector(Collector):
    """Reads a report for every scrape; `report` is the governance's, so that it says who governs."""

    def __init__(self, report: Callable[[], ResidencyReport]) -> None:
        self._report = report

    def collect(self) -> Iterator[Metric]:
        """Yield what is."""
        report = self._report()
        yield from _modules(report.modules)
        yield from _module_counters(report.modules)
        yield from _whole(report)
        yield from _governing(report)
        if report.device is not None:
            yield _device(report.device)
            yield from _waiting(report.device.waiting)

    def __repr__(self) -> str:
        return "<ResidencyCollector>"


def _modules(modules: tuple[ModuleStatus, ...]) -> Iterator[Metric]:
    tier = GaugeMetricFamily(
        "greenroom_module_tier", "1 for the tier that a module is in, 0 for the others.", labels=("module", "tier")
    )
    state = GaugeMetricFamily(
        "greenroom_module_state", "1 for what a module is doing, 0 for all else.", labels=("module", "state")
    )
    held = GaugeMetricFamily("greenroom_module_bytes", "What a module holds in a tier.", labels=("module", "tier"))
    home = GaugeMetricFamily(
        "greenroom_module_at_home", "Whether a module can compute where it is.", labels=("module",)
    )
    leases = GaugeMetricFamily("greenroom_module_leases", "Steps that use a module now.", labels=("module",))
    claims = GaugeMetricFamily("greenroom_module_claims", "Open utterances that need a module.", labels=("module",))
    for each in modules:
        for one in Tier:
            tier.add_metric((each.module, one.name.lower()), each.tier is one)
            held.add_metric((each.module, one.name.lower()), each.bytes_by_tier.get(one, 0))
        for doing in ModuleState:
            state.add_metric((each.module, doing.value), each.state is doing)
        home.add_metric((each.module,), each.tier is each.home)
        leases.add_metric((each.module,), each.leases)
        claims.add_metric((each.module,), each.claims)
    return iter((tier, state, held, home, leases, claims))


def _module_counters(modules: tuple[ModuleStatus, ...]) -> Iterator[Metric]:
    uses = CounterMetricFamily("greenroom_module_uses", "Leases that a module was part of.", labels=("module",))
    restores = CounterMetricFamily("greenroom_module_restores", "Times that a module came home.", labels=("module",))
    evictions = CounterMetricFamily("greenroom_module_evictions", "Times that a module left home.", labels=("module",))
    bring = GaugeMetricFamily(
        "greenroom_module_restore_seconds", "Median time of a module's last restores.", labels=("module",)
    )
    send = GaugeMetricFamily(
        "greenroom_module_evict_seconds", "Median time of a module's last evictions.", labels=("module",)
    )
    for each in modules:
        uses.add_metric((each.module,), each.uses)
        restores.add_metric((each.module,), each.restores)
        evictions.add_metric((each.module,), each.evictions)
        if each.restore_seconds is not None:
            bring.add_metric((each.module,), each.restore_seconds)
        if each.evict_seconds is not None:
            send.add_metric((each.module,), each.evict_seconds)
    return iter((uses, restores, evictions, bring, send))


def _whole(report: ResidencyReport) -> Iterator[Metric]:
    yield GaugeMetricFamily("greenroom_home_bytes", "What modules hold where they compute.", report.home_bytes)
    budget = GaugeMetricFamily("greenroom_budget_bytes", "What they may hold there; absent without a bound.")
    if report.budget_bytes is not None:
        budget.add_metric((), report.budget_bytes)
    yield budget
    yield GaugeMetricFamily("greenroom_sessions", "Speech sessions that are open.", report.sessions)
    yield GaugeMetricFamily(
        "greenroom_queued_utterances", "Utterances that wait for a place to compute.", report.queued_utterances
    )
    yield CounterMetricFamily(
        "greenroom_released_bytes", "What evictions were seen to give back.", report.released_bytes
    )
    yield CounterMetricFamily("greenroom_restore_waits", "Requests that waited for a restore.", report.restore_waits)
    yield CounterMetricFamily(
        "greenroom_restore_wait_seconds", "How long requests waited for restores.", report.restore_wait_seconds
    )
    pending = GaugeMetricFamily(
        "greenroom_pending_moves", "Moves that are wanted and cannot be made yet.", labels=("reason",)
    )
    for reason in PENDING_REASONS:
        pending.add_metric((reason,), sum(move.reason == reason for move in report.pending_moves))
    yield pending


def _governing(report: ResidencyReport) -> Iterator[Metric]:
    yield GaugeMetricFamily("greenroom_governed", "Whether a memory daemon governs.", bool(report.epoch))
    yield GaugeMetricFamily(
        "greenroom_directive_accepted_version", "The directive in force; 0 for none.", report.accepted_version
    )
    yield GaugeMetricFamily(
        "greenroom_directive_applied_version", "The newest directive that has been carried out.", report.applied_version
    )


def _device(usage: DeviceUsage) -> Metric:
    device = GaugeMetricFamily("greenroom_device_bytes", "What the service holds of its GPU.", labels=("kind",))
    kinds = {
        "reserved": usage.reserved_bytes,
        "allocated": usage.allocated_bytes,
        "arena": usage.arena_bytes,
        "scratch": usage.scratch_bytes,
        "pinned_host": usage.pinned_host_bytes,
        "free": usage.free_bytes,
        "total": usage.total_bytes,
        "largest_free_block": usage.largest_free_block_bytes,
        "context": usage.context_bytes,
    }
    for kind, size_bytes in kinds.items():
        if size_bytes is not None:
            device.add_metric((kind,), size_bytes)
    return device


def _waiting(usage: WaitingUsage | None) -> Iterator[Metric]:
    """Yield what is known of keys and values on the host; nothing where they never leave."""
    if usage is None:
        return
    held = GaugeMetricFamily(
        "greenroom_waiting_bytes", "Host memory for keys and values of speech that nobody plays.", labels=("kind",)
    )
    for kind, size_bytes in (("used", usage.used_bytes), ("held", usage.held_bytes), ("most", usage.most_bytes)):
        held.add_metric((kind,), size_bytes)
    yield held
    yield GaugeMetricFamily(
        "greenroom_waiting_segments", "Segments whose keys and values wait on the host.", usage.segments
    )
    yield CounterMetricFamily("greenroom_waiting_departures", "Times that a segment's left.", usage.departures)
    yield CounterMetricFamily(
        "greenroom_waiting_refusals", "Times that they stayed for want of host memory.", usage.refusals
    )
    yield CounterMetricFamily(
        "greenroom_waiting_seconds", "How long segments were away, all together.", usage.away_seconds
    )
