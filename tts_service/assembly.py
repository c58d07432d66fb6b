"""Puts the parts of the engine together to what serves: modules under residency, speech over the engine."""

from concurrent.futures import Executor
from dataclasses import dataclass

import structlog
import torch

from tts_service.config import Residency, RestTier, ServiceConfig
from tts_service.engine import Engine, OnStep
from tts_service.engine_parts import EngineParts
from tts_service.errors import ServiceError
from tts_service.loops import Pace
from tts_service.machine import free_memory_of, mover_for, tiers_of
from tts_service.measured_costs import OnRun
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.renderer import LocalSpeech
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.housekeeper import NoScratch, Resources
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.move_notes import OnMove
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Tier
from tts_service.residency.upkeep import StaticMarks, Upkeep, check_marks
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO
from tts_service.scheduling.token_rests import RestLimits
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.speech_parts import SpeechParts
from tts_service.types import ModuleName
from tts_service.voice_making import VoiceMaker
from tts_service.watermark_search import WatermarkSearch
from tts_service.workers import Workers

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    """Threads besides those that run steps: for detections and for new voices, which must not hold speech up."""

    detections: Executor
    voices: Executor


def residency_of(
    config: ServiceConfig,
    parts: EngineParts,
    memory: ProcessMemory,
    spans: SpanLog = NO_SPANS,
    *,
    on_move: OnMove = lambda _move, _bytes, _seconds: None,
) -> ResidencyManager:
    """Return what keeps the engine's modules; nothing is loaded yet. Raises StartupError.

    With residency off, every module is pinned to its home, and no budget bounds them. Moves are kept in `spans`.
    """
    settings = config.residency
    marks = StaticMarks(low_bytes=settings.static_low_bytes, critical_bytes=settings.static_critical_bytes)
    weights = parts.weights
    scratch = weights if isinstance(weights, ArenaWeights) else NoScratch()
    resources = Resources(scratch=scratch, free_bytes=free_memory_of(parts.device))
    check_marks(marks, resources.free_bytes)
    pinned = settings.pinned if settings.enabled else [spec.name for spec in parts.catalog]
    manager = ResidencyManager(
        parts.catalog,
        mover=mover_for(weights, memory, spans),
        tiers=tiers_of(parts.device),
        budget_bytes=settings.budget_bytes if settings.enabled else None,
        pinned_modules=[ModuleName(name) for name in pinned],
        rest_tiers=_rest_tiers(settings),
        upkeep=Upkeep(marks=marks, cleans_up=settings.aggressive_cleanup, keeps_history=settings.history),
        resources=resources,
        linger_seconds=settings.linger_seconds,
        stay_seconds=settings.minimum_stay_seconds,
        restore_timeout_seconds=settings.restore_timeout_seconds,
        on_move=on_move,
        steps=[step for model in parts.models.values() for step in model.step_modules],
    )
    for space in parts.spaces:
        space.account = manager.account(space.name)
    return manager


def warn_of_budget(residency: ResidencyManager, parts: EngineParts) -> None:
    """Say in the log that speech cannot be had within the budget, with what it needs; steps will be refused."""
    for name, model in parts.models.items():
        try:
            residency.room.turns(model.step_modules)
        except ServiceError as error:
            _log.warning("budget_too_small_for_speech", model=name, message=error.message, **error.metadata)


def workers_for(config: ServiceConfig, device: torch.device) -> Workers:
    """Return the threads that run steps of speech; a GPU has as many as there are lanes."""
    return Workers.on_device(device) if device.type == "cuda" else Workers.shared(config.workers)


def engine_of(
    config: ServiceConfig,
    parts: EngineParts,
    residency: ResidencyManager,
    workers: Workers,
    spans: SpanLog = NO_SPANS,
    *,
    on_step: OnStep = lambda _modules, _seconds: None,
    on_run: OnRun = lambda _part, _seconds, _expected_seconds: None,
) -> Engine:
    """Return what runs the steps of speech, and keeps them in `spans`."""
    return Engine(
        residency,
        workers,
        models=parts.models,
        restore_timeout_seconds=config.residency.restore_timeout_seconds,
        prefetches=config.residency.prefetch,
        spans=spans,
        on_step=on_step,
        on_run=on_run,
        pace=pace_for(parts, config.residency),
    )


def speech_parts(config: ServiceConfig, parts: EngineParts, engine: Engine, executors: Executors) -> SpeechParts:
    """Return what speech asks of an engine of this process."""
    makes = None
    if parts.voices is not None:
        makes = VoiceMaker(engine, parts.voices, rules=parts.voice_rules, executor=executors.voices)
    search = WatermarkSearch(engine, max_seconds=config.limits.detect_seconds, executor=executors.detections)
    return SpeechParts(engine=LocalSpeech(engine), offer=parts.offer, searches=search, makes=makes)


def pace_for(parts: EngineParts, settings: Residency) -> Pace | None:
    """Return how sessions share a GPU; on a CPU threads serve all lanes, and there is nothing to share.

    Estimates begin with an H100's costs and follow what is measured.
    """
    if parts.device.type != "cuda":
        return None
    return Pace(
        figures=H100_TURBO if ChatterboxModel.TURBO.value in parts.models else H100_ENGLISH,
        rests=RestLimits(after_seconds=settings.offload_after_seconds) if settings.offload_paused else None,
    )


def _rest_tiers(settings: Residency) -> dict[ModuleName, Tier]:
    return {ModuleName(name): Tier[tier.name] for name, tier in settings.rest.items() if tier is not RestTier.AUTO}
