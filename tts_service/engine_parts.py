"""What the service is put together from, once it is known what speaks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.scratch_space import ScratchSpace
from tts_service.speech.session_config import Offer
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
