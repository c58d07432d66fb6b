"""The parts of a service that speaks with one of Chatterbox's models: weights to modules, and what can be asked for."""

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
import torch

from tts_service.config import TogetherChoice
from tts_service.engine_choice import EngineChoice
from tts_service.engine_parts import EngineParts
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.languages import LanguageReadiness, english_readiness, language_readiness
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.loading import ModelWeights
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.text_tokenizers import load_text_tokenizer
from tts_service.models.chatterbox.vocabulary import TURBO_TAGS
from tts_service.models.chatterbox.weight_identity import voice_weights_sum
from tts_service.models.chatterbox_catalog import LoadProgress, chatterbox_catalog
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.scratch_space import ScratchSpace, scratch_spec
from tts_service.scheduling.chunk_plans import plan_for
from tts_service.scheduling.costs import Costs
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO
from tts_service.scheduling.work import Together
from tts_service.speech.captured_stages import CapturedStages
from tts_service.speech.chatterbox_speech import ChatterboxSpeech, model_settings
from tts_service.speech.mel_chunks import ChunkSchedule
from tts_service.speech.session_config import ModelFacts, Offer, SessionConfig, VoiceFacts
from tts_service.speech.stages import EagerStages, Stages
from tts_service.speech.text_tokens import text_vocabulary
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_encoding import encoding_rules
from tts_service.speech.voice_store import OwnVoice, VoiceStore
from tts_service.stage_memory import stage_memory
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Priority

DEFAULT_VOICE: Final = "default"
"""The id of the voice that a model's folder brings with it."""

BESIDE_URGENT: Final = Together(segments=8, chunks=4)
"""What is computed together where one of it is urgent: chunks grow as fast as that bears."""

_DESCRIPTIONS: Final = {
    ChatterboxModel.ENGLISH: "Chatterbox: English, clones voices; liveliness and guidance can be set.",
    ChatterboxModel.MULTILINGUAL: "Chatterbox Multilingual: clones voices; liveliness and guidance can be set.",
    ChatterboxModel.TURBO: "Chatterbox Turbo: English, clones voices, and makes sounds such as [laugh].",
}
_SYNTHETIC: Final = "The weights are synthetic: this is noise with the course of speech."
_FIRST_LANGUAGE: Final = "en"

_log = structlog.get_logger(__name__)


def chatterbox_parts(
    choice: EngineChoice,
    weights: ModelWeights,
    *,
    cache_dir: Path,
    voice_dir: Path,
    progress: LoadProgress,
    brings: ArenaWeights | DeviceTensors | None = None,
    captured: bool = True,
    together: TogetherChoice = TogetherChoice.WHEN_NEEDED,
    offload_bytes: int = 0,
) -> EngineParts:
    """Return the parts; `progress` hears of every byte of a module that is loaded. Raises StartupError.

    `brings` are what brings weights to a GPU. `captured` lets stages be CUDA graphs, if their addresses last, and
    `together` those for sound of several segments at once. `offload_bytes` of host memory are for keys and values of
    utterances that stand still.
    """
    model, device = weights.layout.model, torch.device(choice.device)
    tokenizer = load_text_tokenizer(weights.folder, model)
    languages = _languages(weights, tokenizer)
    voices = VoiceStore(
        voice_dir,
        weights={model.value: voice_weights_sum(weights)},
        own=_own_voices(weights, _ready(languages)),
        clock=time.time,
    )
    stages, spaces = _stages(model, brings, captured=captured, together=together, offload_bytes=offload_bytes)
    speech = ChatterboxSpeech(
        model,
        voices=voices,
        tokenizer=tokenizer,
        vocabulary=text_vocabulary(t3_hyper_parameters(model, weights.size), model),
        device=device,
        stages=stages,
        schedules=_schedules(model) if spaces else None,
    )
    return EngineParts(
        catalog=(*chatterbox_catalog(weights, cache_dir, progress=progress), *map(scratch_spec, spaces)),
        offer=Offer(models=(model_facts(weights, languages, reason=choice.reason),), voices=voices.voices),
        models={model.value: speech},
        device=device,
        voices=voices,
        voice_rules={model.value: encoding_rules(model)},
        weights=brings,
        spaces=spaces,
    )


def _stages(
    model: ChatterboxModel,
    brings: ArenaWeights | DeviceTensors | None,
    *,
    captured: bool,
    together: TogetherChoice,
    offload_bytes: int,
) -> tuple[Stages, tuple[ScratchSpace, ...]]:
    """Return how the stages compute, and the scratch memory that they need."""
    if brings is None or not captured:
        return EagerStages(), ()
    if not isinstance(brings, ArenaWeights):
        _log.warning("stages_not_captured", reason="weights come back to other addresses", consequence="slow speech")
        return EagerStages(), ()
    memory, spaces = stage_memory(brings, company=together is not TogetherChoice.OFF, waiting_bytes=offload_bytes)
    return CapturedStages(model, memory, company_late=together is TogetherChoice.WHEN_NEEDED), spaces


def _schedules(model: ChatterboxModel) -> Callable[[SessionConfig], ChunkSchedule]:
    """Return how utterances are cut on a GPU: by their class, and by figures that are the same in every process.

    What was measured here would cut the same text one way today and another way tomorrow.
    """
    costs = Costs(figures=H100_TURBO if model is ChatterboxModel.TURBO else H100_ENGLISH)
    plans = {
        (priority, reproducible): plan_for(priority, costs, BESIDE_URGENT, reproducible=reproducible)
        for priority in Priority
        for reproducible in (False, True)
    }
    return lambda config: plans[config.priority, config.reproducible].schedule


def model_facts(weights: ModelWeights, languages: Sequence[LanguageReadiness], *, reason: str) -> ModelFacts:
    """Return what a model can be asked for. Languages that lack something are told, and are not to be had.

    Without a voice in its folder, a model has no default one.
    """
    model = weights.layout.model
    return ModelFacts(
        id=model.value,
        description=_description(weights, reason),
        languages=_ready(languages),
        sample_rate_hertz=MODEL_SAMPLE_RATE_HERTZ,
        default_voice=DEFAULT_VOICE if (weights.folder / CONDITIONALS_FILE).exists() else "",
        changes_speaking_rate=False,
        settings=model_settings(model),
        creates_voices=True,
        tags=TURBO_TAGS if model is ChatterboxModel.TURBO else (),
        missing_languages={each.language: each.missing for each in languages if not each.is_ready},
    )


def _own_voices(weights: ModelWeights, languages: tuple[str, ...]) -> tuple[OwnVoice, ...]:
    """Return the voice of a model's folder, if it brings one. Raises StartupError."""
    path = weights.folder / CONDITIONALS_FILE
    if not path.exists():
        _log.warning("no_default_voice", folder=str(weights.folder), way_out="make a voice, and name it in requests")
        return ()
    read = read_conditionals(path)
    facts = _default_voice(weights.layout.model, languages)
    return (OwnVoice(facts=facts, conditionals=VoiceConditionals.from_upstream(read.t3, read.gen)),)


def _languages(weights: ModelWeights, tokenizer: Any) -> tuple[LanguageReadiness, ...]:
    if weights.layout.model is not ChatterboxModel.MULTILINGUAL:
        return english_readiness(weights.layout.model)
    found = language_readiness(weights.folder, tokenizer)
    for each in found:
        if not each.is_ready:
            _log.warning("language_not_ready", language=each.language, name=each.name, missing="; ".join(each.missing))
    return found


def _ready(languages: Iterable[LanguageReadiness]) -> tuple[str, ...]:
    """Return what can be spoken, English before the others: a voice's first language is its default."""
    ready = (each.language for each in languages if each.is_ready)
    return tuple(sorted(ready, key=lambda language: language != _FIRST_LANGUAGE))


def _description(weights: ModelWeights, reason: str) -> str:
    parts = [_DESCRIPTIONS[weights.layout.model]]
    if weights.is_synthetic:
        parts.append(_SYNTHETIC)
    return " ".join([*parts, f"It speaks because: {reason}."])


def _default_voice(model: ChatterboxModel, languages: tuple[str, ...]) -> VoiceFacts:
    return VoiceFacts(
        id=DEFAULT_VOICE,
        display_name="Default",
        languages=languages,
        models=(model.value,),
        description=f"The voice that the {model} model brings with it.",
    )
