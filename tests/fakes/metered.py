"""Both processes' metrics after everything has happened once, and what of them can be asked for by name."""

from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

import memory_daemon.metrics
import tts_service.metrics
from memory_daemon.board import Status
from memory_daemon.config import DaemonConfig
from memory_daemon.journal import Journal
from memory_daemon.journal_records import DecisionMade, DeviceEvent, Directed, Record, Refused, ServiceChanged
from memory_daemon.marks import HOST_POLICY, Mark
from memory_daemon.prediction_records import PredictionEnded
from memory_daemon.predictions import Ground
from memory_daemon.types import HOST, Device, DeviceId, ModuleName, ModuleStatus, Pressure, ServiceName, Tier, Wish
from memory_daemon.usage import HostReading
from tests.fakes.daemon_world import World, WorldMemory, WorldService
from tests.fakes.fake_residency_manager import FakeResidencyManager
from tts_service.config import ServiceConfig
from tts_service.errors import Reason, ServiceError
from tts_service.late_counts import LateCounts
from tts_service.residency.situation import Move
from tts_service.residency.types import Authority, DeviceUsage, ResidencyReport
from tts_service.residency.types import Tier as ServiceTier
from tts_service.scheduling.utilisation import Part
from tts_service.scheduling.verdicts import Refusal
from tts_service.scheduling.verdicts import Refused as ClientRefused
from tts_service.speech import protocol
from tts_service.speech.session_config import Aggregation, Pacing, SessionConfig
from tts_service.speech.speech_outcome import SpeechGuard
from tts_service.types import VOICE, AudioFormat, EncodedPiece, Priority, Segment

CONFIG = SessionConfig(
    model="english",
    voice="default",
    language="en",
    audio_format=AudioFormat(),
    seed=1,
    speaking_rate=1.0,
    text_aggregation=Aggregation.SERVER,
    max_buffer_delay=3.0,
    pacing=Pacing.REALTIME,
    max_audio_ahead=4.0,
)
CHUNK = protocol.AudioChunk(
    utterance_id="u",
    sequence=0,
    sample_offset=0,
    piece=EncodedPiece(data=bytes(24_000), sample_count=12_000),
    last=False,
)
DONE = protocol.UtteranceDone(
    utterance_id="u",
    finish_reason=protocol.FinishReason.COMPLETE,
    samples=12_000,
    time_to_first_audio_seconds=0.09,
    queue_wait_seconds=0.02,
    real_time_factor=0.3,
    underruns=2,
    speech_tokens=13,
    guarded_segments=(
        protocol.GuardedSegment(segment=Segment(text="Hm.", text_start=0, text_end=3), guard=SpeechGuard.LOOP),
    ),
)
CANCELLED = protocol.UtteranceCancelled(utterance_id="u")
FAILED = protocol.UtteranceError(utterance_id="u", error=ServiceError(Reason.DEVICE_MEMORY, "no memory"), closed=True)
USAGE = DeviceUsage(reserved_bytes=10, allocated_bytes=8, arena_bytes=6, scratch_bytes=2, free_bytes=5, total_bytes=20)
RECORDS: tuple[Record, ...] = (
    DecisionMade(device=HOST, pressure=Pressure.LOW, reason="low", evict=("speech/voice",), trim=("speech",)),
    DecisionMade(device=HOST, pressure=Pressure.ROOM, reason="room", restore=("speech/voice",)),
    DecisionMade(device=HOST, pressure=Pressure.LOW, reason="nothing is left"),
    Directed(service=ServiceName("speech"), version=1, wish=Wish()),
    Refused(service=ServiceName("speech"), version=1, reason="no"),
    ServiceChanged(service=ServiceName("speech"), device=HOST, governed=True, reason="", epoch=1, instance_id="i"),
    DeviceEvent(device=DeviceId("GPU-1"), event="xid", number=79),
    PredictionEnded(
        device=HOST,
        service=ServiceName("speech"),
        module=ModuleName("voice"),
        ground=Ground.TIME_OF_DAY,
        hit=True,
    ),
)


def device_report() -> ResidencyReport:
    """Return a report of a service on a GPU, with a budget, and moves that have been timed."""
    report = FakeResidencyManager().report()
    modules = tuple(replace(each, restore_seconds=0.02, evict_seconds=0.001) for each in report.modules)
    return replace(report, modules=modules, budget_bytes=1 << 30, device=USAGE, epoch=1)


def service_metrics() -> tts_service.metrics.Metrics:
    """Return the service's metrics after everything has happened once."""
    metrics = tts_service.metrics.Metrics(ServiceConfig(), version="1.2.3", is_serving=lambda: True)
    metrics.watch(device_report, [CONFIG.model])
    for streaming in (True, False):
        metrics.speech.opened(CONFIG, streaming=streaming)
    for message in (CHUNK, DONE, CANCELLED, FAILED):
        metrics.speech.said(message, CONFIG)
    metrics.speech.looked("WATERMARK_VERDICT_PRESENT")
    metrics.speech.voice_made()
    metrics.speech.stepped(frozenset({VOICE}), 0.03)
    metrics.speech.lagged(0.001)
    metrics.watch_late(lambda: LateCounts(taken=3, failed=1))
    metrics.admission.watch(waiting=lambda: 3, busy=lambda part: 0.25 if part is Part.SOUND else 0.0)
    metrics.admission.queued(Priority.INTERACTIVE)
    metrics.admission.admitted(Priority.INTERACTIVE, waited_seconds=0.4)
    refused = ClientRefused(key=1, refusal=Refusal.FULL, retry_after_seconds=4.0)
    metrics.admission.refused(Priority.BULK, refused)
    move = Move(module=VOICE, source=ServiceTier.HOST, target=ServiceTier.DEVICE, authority=Authority.DEMAND)
    metrics.moves.moved(move, 1_000, 0.02)
    metrics.engine.restarted()
    metrics.engine.came(1.5)
    metrics.engine.watch(lambda: True)
    return metrics


def small_world(folder: Path) -> World:
    """Return a machine of 1,000 bytes with one service that holds 400."""
    marks = {"critical": Mark(size_bytes=100), "low": Mark(size_bytes=200), "high": Mark(size_bytes=300)}
    world = World(folder, replace(HOST_POLICY, **marks), WorldMemory(device=HOST, total_bytes=1000, used_bytes=100))
    voice = ModuleStatus(module=ModuleName("voice"), home=Tier.HOST, tier=Tier.HOST, home_bytes=400)
    device = Device(device=HOST, tier=Tier.HOST)
    world.add(WorldService(name=ServiceName("speech"), device=device, modules={voice.module: voice}))
    return world


def journal_in(folder: Path) -> Journal:
    """Return a journal in which nothing is written yet."""
    return Journal(folder=folder / "journal", size_maximum_bytes=4096, files=1, unix_clock=lambda: 0.0)


def shared_host(status: Status) -> Status:
    """Return a status as on a machine with GPUs: memory is divided, and host memory is read beside it."""
    told = tuple(
        replace(view, report=None if view.report is None else replace(view.report, budget_bytes=300))
        for view in status.services
    )
    divided = tuple(
        replace(device, budgets={ServiceName("speech"): 300}, overdraft_bytes=7) for device in status.devices
    )
    host = HostReading(unix_seconds=0.0, total_bytes=100, free_bytes=10, some_percent=25.0, full_percent=5.0)
    return replace(status, devices=divided, services=told, host=host, host_short=True)


def daemon_metrics(folder: Path) -> memory_daemon.metrics.Metrics:
    """Return the daemon's metrics after everything has happened once."""
    metrics = memory_daemon.metrics.Metrics(DaemonConfig(), version="1.2.3")
    world = small_world(folder)
    metrics.watch(world.board, journal_in(folder))
    world.run(2.0)
    world.board.publish(shared_host(world.board.status))
    pace = metrics.pace()
    for _ in range(2):
        pace.rest(0.0, 0.0)
    write = metrics.records.counted(lambda _record: None)
    for record in RECORDS:
        write(record)
    return metrics


def values(registry: CollectorRegistry) -> dict[str, float]:
    """Return every series as Prometheus writes it, with its value."""
    return {
        _series(sample.name, sample.labels): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")  # Written unless a process has switched it off, as ours do.
    }


def labels_by_name(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Return the names that a scrape finds, each with its labels."""
    found: dict[str, set[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _series(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inside}}}" if inside else name
