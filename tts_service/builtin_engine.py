"""The parts of a service that speaks with the built-in voice; imported only where it does, for onnxruntime's sake."""

from pathlib import Path

import torch

from tts_service.engine_parts import EngineParts
from tts_service.models.builtin import HEART
from tts_service.models.builtin_catalog import builtin_catalog
from tts_service.speech.builtin_speech import BuiltinSpeech
from tts_service.speech.session_config import ModelFacts, Offer, VoiceFacts


def builtin_parts(cache_dir: Path, *, reason: str) -> EngineParts:
    """Return the parts of a service that speaks with the built-in voice; `reason` says why it does."""
    return EngineParts(
        catalog=builtin_catalog(cache_dir),
        offer=builtin_offer(reason),
        models={HEART.model: BuiltinSpeech()},
        device=torch.device("cpu"),
    )


def builtin_offer(reason: str) -> Offer:
    """Return what the built-in voice can be asked for."""
    model = ModelFacts(
        id=HEART.model,
        description=f"{HEART.description} It speaks because: {reason}.",
        languages=HEART.languages,
        sample_rate_hertz=HEART.sample_rate_hertz,
        default_voice=HEART.voice_id,
        changes_speaking_rate=True,
    )
    voice = VoiceFacts(
        id=HEART.voice_id,
        display_name=HEART.display_name,
        languages=HEART.languages,
        models=(HEART.model,),
        description=HEART.description,
    )
    return Offer(models=(model,), voices={voice.id: voice})
