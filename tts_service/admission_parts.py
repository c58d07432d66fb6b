"""From settings and the engine to the door of speech: what may be let in, and by what it is measured."""

import os
import time
from collections.abc import Collection

from tts_service.api.admissions import Admissions, AdmissionWatch
from tts_service.api.sessions import Sessions
from tts_service.api.speech_load import SpeechLoad
from tts_service.config import ModelChoice, ServiceConfig
from tts_service.scheduling.admission import AdmissionLimits
from tts_service.scheduling.capacity import Usage
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO
from tts_service.scheduling.utilisation import Machine, Part, on_cpu, on_device
from tts_service.scheduling.work import Together

TOGETHER = Together(segments=32, chunks=8)
"""What the engine computes at once on a GPU."""

HYSTERESIS = 0.03
"""How far below `full` the door opens again: about one session of thirty."""


def speech_load(
    config: ServiceConfig, *, on_gpu: bool, models: Collection[str], together: Together = TOGETHER
) -> SpeechLoad:
    """Return what measures speech with these models, with the figures that suit the engine to begin with.

    A GPU has a thread a lane. On a CPU all steps share `workers` threads, of which no more count than there are cores.
    """
    threads = min(config.workers, len(os.sched_getaffinity(0)))
    return SpeechLoad(
        _device(models, together) if on_gpu else on_cpu(threads),
        threads={Part.TOKENS: 1, Part.SOUND: 1} if on_gpu else {Part.SOUND: threads},
        clock=time.monotonic,
        listening_share=config.admission.listening_share,
    )


def _device(models: Collection[str], together: Together) -> Machine:
    figures = H100_TURBO if ModelChoice.TURBO.value in models else H100_ENGLISH
    return on_device(figures, together, Usage())


def admission_limits(config: ServiceConfig) -> AdmissionLimits:
    """Return the bounds on who is let in."""
    settings = config.admission
    most = config.limits.sessions
    return AdmissionLimits(
        sessions=most,
        full=settings.full,
        reopened=max(settings.full / 2, settings.full - HYSTERESIS),
        beginning=settings.beginning if settings.by_cost else most + 1,
        queue=settings.queue,
        queue_seconds=settings.queue_seconds,
        # One more than there are: a client that has them all waits its turn like any other.
        client_sessions=settings.client_sessions or most + 1,
        client_queue=settings.client_queue,
        bulk_sessions=settings.bulk_sessions,
        most_retry_seconds=settings.most_retry_seconds,
    )


def admissions_of(
    config: ServiceConfig, sessions: Sessions, load: SpeechLoad, watch: AdmissionWatch | None = None
) -> Admissions:
    """Return the door of speech; with `by_cost` off, sessions are counted and nothing is measured."""
    measure = load if config.admission.by_cost else None
    return Admissions(sessions, admission_limits(config), clock=time.monotonic, measure=measure, watch=watch)
