"""From settings to the servicer of speech, wherever the engine is."""

import time
from dataclasses import dataclass

from tts_service.api.admissions import Admissions
from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService, SpeechSettings
from tts_service.api.speech_watch import SpeechWatch
from tts_service.api.voice_upload import VoiceUploadLimits, VoiceUploads
from tts_service.api.watermark_detection import Detection, DetectionLimits
from tts_service.config import Limits, ServiceConfig
from tts_service.engine_seam import SpeechEngine, VoiceMaking, WatermarkSearching
from tts_service.speech.session_config import Offer
from tts_service.speech.session_limits import SessionLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechParts:
    """An engine as the edge knows it: what speaks, and what is on offer; `makes` is None without voices to make."""

    engine: SpeechEngine
    offer: Offer
    searches: WatermarkSearching
    makes: VoiceMaking | None


def speech_service(
    config: ServiceConfig,
    parts: SpeechParts,
    *,
    version: str,
    sessions: Sessions,
    admissions: Admissions | None = None,
    watch: SpeechWatch | None = None,
) -> SpeechService:
    """Return the servicer of speech."""
    return SpeechService(
        engine=parts.engine,
        offer=parts.offer,
        sessions=sessions,
        admissions=admissions,
        settings=_settings(config, version),
        detection=_detection(config.limits, parts),
        clock=time.monotonic,
        voices=_voice_uploads(config.limits, parts),
        watch=watch,
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
        client_key=config.admission.client_key,
    )


def _detection(limits: Limits, parts: SpeechParts) -> Detection:
    bounds = DetectionLimits(
        seconds=limits.detect_seconds, bytes=limits.detect_bytes, upload_seconds=limits.idle_timeout_seconds
    )
    return Detection(parts.searches, bounds, places=Sessions(limit=limits.detections, clock=time.monotonic))


def _voice_uploads(limits: Limits, parts: SpeechParts) -> VoiceUploads | None:
    if parts.makes is None:
        return None
    return VoiceUploads(
        parts.makes,
        parts.offer,
        limits=VoiceUploadLimits(bytes=limits.voice_bytes, upload_seconds=limits.idle_timeout_seconds),
        places=Sessions(limit=limits.voice_uploads, clock=time.monotonic),
    )
