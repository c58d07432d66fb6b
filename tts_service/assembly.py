"""Puts the parts of the engine together to what serves: modules under residency, speech over the engine."""

import time
from concurrent.futures import Executor
from dataclasses import dataclass

from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService, SpeechSettings
from tts_service.api.voice_upload import VoiceUploadLimits, VoiceUploads
from tts_service.api.watermark_detection import Detection, DetectionLimits
from tts_service.config import Limits, ServiceConfig
from tts_service.engine import Engine
from tts_service.engine_parts import EngineParts
from tts_service.machine import mover_for, tiers_of
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.process_memory import ProcessMemory
from tts_service.speech.session_limits import SessionLimits
from tts_service.types import ModuleName


@dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    """Threads: those that run steps, and one each for detections and for new voices, which must not hold speech up."""

    steps: Executor
    detections: Executor
    voices: Executor


def residency_of(config: ServiceConfig, parts: EngineParts, memory: ProcessMemory) -> ResidencyManager:
    """Return what keeps the engine's modules; nothing is loaded yet. Raises StartupError."""
    settings = config.residency
    return ResidencyManager(
        parts.catalog,
        mover=mover_for(parts.device, memory),
        tiers=tiers_of(parts.device),
        budget_bytes=settings.budget_bytes,
        pinned_modules=[ModuleName(name) for name in settings.pinned],
        linger_seconds=settings.linger_seconds,
        stay_seconds=settings.minimum_stay_seconds,
        restore_timeout_seconds=settings.restore_timeout_seconds,
    )


def speech_service(
    config: ServiceConfig,
    parts: EngineParts,
    residency: ResidencyManager,
    *,
    version: str,
    sessions: Sessions,
    executors: Executors,
) -> SpeechService:
    """Return the servicer of speech."""
    engine = Engine(
        residency,
        executors.steps,
        models=parts.models,
        restore_timeout_seconds=config.residency.restore_timeout_seconds,
    )
    return SpeechService(
        engine=engine,
        offer=parts.offer,
        sessions=sessions,
        settings=_settings(config, version),
        detection=_detection(config.limits, engine, executors.detections),
        clock=time.monotonic,
        voices=_voice_uploads(config.limits, engine, parts, executors.voices),
    )


def _settings(config: ServiceConfig, version: str) -> SpeechSettings:
    limits = config.limits
    return SpeechSettings(
        service_name=config.name,
        version=version,
        limits=SessionLimits(
            utterance_text_bytes=limits.utterance_text_bytes,
            waiting_utterances=limits.waiting_utterances,
            waiting_flushes=limits.waiting_flushes,
            idle_timeout_seconds=limits.idle_timeout_seconds,
        ),
        max_buffer_delay_seconds=limits.max_buffer_delay_seconds,
        max_audio_ahead_seconds=limits.max_audio_ahead_seconds,
        log_text=config.log_text,
    )


def _detection(limits: Limits, engine: Engine, executor: Executor) -> Detection:
    bounds = DetectionLimits(
        seconds=limits.detect_seconds, bytes=limits.detect_bytes, upload_seconds=limits.idle_timeout_seconds
    )
    places = Sessions(limit=limits.detections, clock=time.monotonic)
    return Detection(engine, bounds, places=places, executor=executor)


def _voice_uploads(limits: Limits, engine: Engine, parts: EngineParts, executor: Executor) -> VoiceUploads | None:
    if parts.voices is None:
        return None
    return VoiceUploads(
        engine,
        parts.offer,
        parts.voices,
        rules=parts.voice_rules,
        limits=VoiceUploadLimits(bytes=limits.voice_bytes, upload_seconds=limits.idle_timeout_seconds),
        places=Sessions(limit=limits.voice_uploads, clock=time.monotonic),
        executor=executor,
    )
