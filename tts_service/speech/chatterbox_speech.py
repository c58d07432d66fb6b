"""Chatterbox as a speech model: what can be asked for, and what an utterance's segments share.

Rules
* What a segment changes is in the segment. Voice, settings and seed are values of its utterance.
* Chunks grow over the utterance, not over the segment: once it sounds, there is time for larger ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.chatterbox_segment import ChatterboxSegment
from tts_service.speech.made_once import MadeOnce
from tts_service.speech.mel_chunks import ChunkSchedule, chunk_tokens, tail_tokens
from tts_service.speech.rehearsal import SENTENCE, rehearse_tokens
from tts_service.speech.sampling import Sampling, default_sampling, settings_of
from tts_service.speech.segment_setting import SegmentSetting
from tts_service.speech.session_config import SessionConfig, SettingValues
from tts_service.speech.speech_model import Lane, MarkStream, Modules, PrepareStep
from tts_service.speech.speech_tokens import check_voice
from tts_service.speech.stages import EagerStages, Stages
from tts_service.speech.text_tokens import TextVocabulary, text_tokens
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.types import Segment

_REHEARSED_LANGUAGE: Final = "en"
"""Every model speaks it, and no other package is needed for it."""


class Voices(Protocol):
    """Where voices are kept."""

    def conditionals(self, voice_id: str, model: str) -> VoiceConditionals:
        """Return a voice, on the CPU. Raises CallerError VOICE_NOT_FOUND."""
        ...


class ChatterboxSpeech:
    """Speech with one of Chatterbox's models, on `device`; `tokenizer` is upstream's for the model.

    `stages` are how it is computed. `schedules` say how an utterance is cut, if not all are by `schedule`.
    """

    def __init__(
        self,
        model: ChatterboxModel,
        *,
        voices: Voices,
        tokenizer: Any,
        vocabulary: TextVocabulary,
        device: torch.device,
        schedule: ChunkSchedule | None = None,
        stages: Stages | None = None,
        schedules: Callable[[SessionConfig], ChunkSchedule] | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self.schedule = schedule or ChunkSchedule()
        self.stages = stages or EagerStages()
        self.modules = self.stages.modules.all
        self.step_modules = self.stages.modules.steps
        self._there = MadeOnce[VoiceConditionals, VoiceConditionals]()
        self._schedules = schedules
        self._voices = voices
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return what its stages want done before the first utterance; if anything, a prompt is rehearsed too."""
        steps = self.stages.prepare_steps()
        return (*steps, self._rehearsal()) if steps else ()

    def utterance(self, config: SessionConfig) -> "ChatterboxUtterance":
        """Begin an utterance; it keeps its voice, whatever becomes of that. Raises CallerError VOICE_NOT_FOUND."""
        return ChatterboxUtterance(self, config, self._voices.conditionals(config.voice, config.model))

    def there(self, voice: VoiceConditionals) -> VoiceConditionals:
        """Return a voice on the device, where it goes once and not with every utterance. ENGINE_FAULT for a bad one."""

        def moved() -> VoiceConditionals:
            check_voice(voice.tokens)
            return voice.to(self.device)

        return self._there.of(voice, moved)

    def schedule_for(self, config: SessionConfig) -> ChunkSchedule:
        """Return how an utterance is cut into chunks, from its beginning to its end."""
        return self.schedule if self._schedules is None else self._schedules(config)

    def text(self, segment: Segment, language: str) -> torch.Tensor:
        """Return the tokens (tokens,) of a segment's text. Raises CallerError."""
        return text_tokens(
            segment.text.strip(),
            model=self.model,
            tokenizer=self._tokenizer,
            language=language,
            vocabulary=self._vocabulary,
        )

    def _rehearsal(self) -> PrepareStep:
        def rehearse(leased: Modules) -> None:
            text = self.text(Segment(text=SENTENCE, text_start=0, text_end=len(SENTENCE)), _REHEARSED_LANGUAGE)
            rehearse_tokens(self.stages, self.model, text, leased)

        modules = self.stages.modules.tokens
        return PrepareStep(name="reading a first prompt", lane=Lane.TOKENS, modules=modules, run=rehearse)

    def __repr__(self) -> str:
        return f"<ChatterboxSpeech {self.model} on {self.device}>"


class ChatterboxUtterance:
    """One utterance: its voice on the device, its settings, and how many chunks of tokens it has had."""

    def __init__(self, speech: ChatterboxSpeech, config: SessionConfig, voice: VoiceConditionals) -> None:
        self.speech = speech
        self.config = config
        self.sampling = sampling_of(config.settings, speech.model)
        self.chunks = 0
        self.tokens_cut = 0
        self.tokens_decoded = 0
        self.schedule = speech.schedule_for(config)
        self.has_sounded = False
        self._voice = voice
        self._is_there = False

    def voice(self) -> VoiceConditionals:
        """Return the voice on the device, which it reaches when it is first needed: by the first step for tokens."""
        if not self._is_there:
            self._voice = self.speech.there(self._voice)
            self._is_there = True
        return self._voice

    def chunk_tokens(self, after: int = 0) -> int:
        """Return how many tokens the next chunk has, or the one so many after it."""
        return chunk_tokens(self.schedule, self.chunks + after)

    def tail_tokens(self) -> int:
        """Return for how many more the next chunk waits: it has them too if they are the segment's last."""
        return tail_tokens(self.schedule, self.chunks)

    def segment(self, segment: Segment, index: int, *, in_turns: bool = False) -> ChatterboxSegment:
        """Begin to speak a segment."""
        speech = self.speech
        return ChatterboxSegment(
            SegmentSetting(
                model=speech.model,
                device=speech.device,
                stages=speech.stages,
                sampling=self.sampling,
                seed=self.config.seed,
                text=lambda: speech.text(segment, self.config.language),
                alone=self.config.reproducible,
            ),
            self,
            segment,
            index,
            in_turns=in_turns,
        )

    def marks(self) -> MarkStream:
        """Begin to mark the utterance's audio."""
        return self.speech.stages.marks(alone=self.config.reproducible)

    def __repr__(self) -> str:
        return f"<ChatterboxUtterance {self.config.voice} | {self.chunks} chunks>"


def model_settings(model: ChatterboxModel) -> SettingValues:
    """Return the settings that a model has, with its defaults."""
    return settings_of(default_sampling(model), model)


def sampling_of(settings: SettingValues, model: ChatterboxModel) -> Sampling:
    """Return a request's settings, whose values have been checked against the model's, as the token loop takes them."""
    own: dict[str, Any] = dict(settings)
    return replace(default_sampling(model), **own)
