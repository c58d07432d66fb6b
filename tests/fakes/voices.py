"""Voices without encoders: random numbers of the right shapes."""

from collections.abc import Mapping
from pathlib import Path

import torch

from tests.fakes.manual_clock import ManualClock
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.session_config import VoiceFacts
from tts_service.speech.token_prompt import TokenVoice
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_store import OwnVoice, StoreLimits, VoiceStore

MODEL = "english"
WEIGHTS: Mapping[str, str] = {MODEL: "tiny"}


def random_voice(seed: int = 0, *, flow_tokens: int = 50) -> VoiceConditionals:
    """Return a voice of 2 s."""
    random = torch.Generator().manual_seed(seed)
    return VoiceConditionals(
        tokens=TokenVoice(
            speaker=torch.rand(256, generator=random), tokens=torch.randint(0, 6561, (50,), generator=random)
        ),
        prompt=MelPrompt(
            tokens=torch.randint(0, 6561, (flow_tokens,), generator=random),
            mel=torch.randn(2 * flow_tokens, 80, generator=random),
            speaker=torch.randn(192, generator=random),
        ),
    )


def named(voice_id: str, display_name: str = "Ann", model: str = MODEL) -> VoiceFacts:
    """Return what is known of a voice that is to be stored."""
    return VoiceFacts(
        id=voice_id, display_name=display_name, languages=("en",), models=(model,), description="A test's."
    )


def own_voice(voice_id: str = "default") -> OwnVoice:
    """Return a voice that belongs to the model."""
    return OwnVoice(facts=named(voice_id, "The model's own"), conditionals=random_voice(99))


def voice_store(folder: Path, *, weights: Mapping[str, str] = WEIGHTS, limits: StoreLimits | None = None) -> VoiceStore:
    """Return a store with one voice of the model's own, at a time that stands still."""
    return VoiceStore(folder, weights=weights, own=[own_voice()], clock=ManualClock(1_700_000_000.0), limits=limits)
