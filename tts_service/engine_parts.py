"""What the service is put together from, once it is known what speaks; and those parts for the built-in voice."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tts_service.models.builtin import HEART
from tts_service.models.builtin_catalog import builtin_catalog
from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.scratch_space import ScratchSpace
from tts_service.speech.builtin_speech import BuiltinSpeech
from tts_service.speech.session_config import ModelFacts, Offer, VoiceFacts
from tts_service.speech.speech_model import SpeechModel
from tts_service.speech.voice_encoding import EncodingRules
from tts_service.speech.voice_store import VoiceStore


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """Modules, what can be asked for, the models that speak by id, and the device that they compute on.

    `voices` keeps the voices that clients make, by the `voice_rules` of each model; None where none can be made.
    `weights` bring modules to a GPU, None on a CPU, and `spaces` are what its stages need there besides.
    """

    catalog: tuple[ModuleSpec, ...]
    offer: Offer
    models: Mapping[str, SpeechModel]
    device: torch.device
    voices: VoiceStore | None = None
    voice_rules: Mapping[str, EncodingRules] = field(default_factory=dict)
    weights: ArenaWeights | DeviceTensors | None = None
    spaces: tuple[ScratchSpace, ...] = ()


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
