"""Chatterbox as a speech model: text -> speech tokens -> mel -> waveform, while later tokens are still to come.

Rules
* Three stages take turns, each with its own module: some tokens, then the mel that they allow, then its waveform. No
  module is needed by two stages, so each may leave while another's turn lasts.
* Chunks grow over the utterance, not over the segment: once it sounds, there is time for larger ones.
* A cancel is seen before every token and between the stages.
* What a segment changes is in the segment. Voice, settings and seed are values of its utterance.
"""

from dataclasses import replace
from enum import Enum
from typing import Any, Final, Protocol

import numpy as np
import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel import MelState, decode_mel, with_tokens
from tts_service.speech.mel_chunks import ChunkSchedule, chunk_tokens
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.sampling import Sampling, default_sampling, settings_of
from tts_service.speech.session_config import SessionConfig, SettingValues
from tts_service.speech.speech_model import Modules, SpeechGuard, SpeechOutcome
from tts_service.speech.speech_tokens import SpeechTokens, TokenFinish, TokenRequest
from tts_service.speech.text_tokens import TextVocabulary, text_tokens
from tts_service.speech.token_guards import token_budget
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.waveform import WaveformState, sound
from tts_service.types import ModuleName, Segment, Waveform

TOKENS_AT_ONCE: Final = 8
"""Tokens of one step, 0.32 s of speech: a module that is called away waits no longer than for these."""

TURBO_TAIL: Final = (4_299,) * 3
"""Silence that upstream's `ChatterboxTurboTTS.generate` appends (`S3GEN_SIL`), so that the last word is not cut off."""

_GUARDS: Final = {
    TokenFinish.FORCED: SpeechGuard.ALIGNMENT,
    TokenFinish.TOKEN_LIMIT: SpeechGuard.TOKEN_LIMIT,
    TokenFinish.TEXT_BUDGET: SpeechGuard.TEXT_BUDGET,
    TokenFinish.LOOP: SpeechGuard.LOOP,
}


class Voices(Protocol):
    """Where voices are kept."""

    def conditionals(self, voice_id: str, model: str) -> VoiceConditionals:
        """Return a voice, on the CPU. Raises CallerError VOICE_NOT_FOUND."""
        ...


class ChatterboxSpeech:
    """Speech with one of Chatterbox's models, on `device`; `tokenizer` is upstream's for the model."""

    modules: frozenset[ModuleName] = frozenset({T3, S3GEN_FLOW, S3GEN_VOCODER})

    def __init__(
        self,
        model: ChatterboxModel,
        *,
        voices: Voices,
        tokenizer: Any,
        vocabulary: TextVocabulary,
        device: torch.device,
        schedule: ChunkSchedule | None = None,
    ) -> None:
        self.model = model
        self.device = device
        self.schedule = schedule or ChunkSchedule()
        self._voices = voices
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary

    def utterance(self, config: SessionConfig) -> "ChatterboxUtterance":
        """Begin an utterance; it keeps its voice, whatever becomes of that. Raises CallerError VOICE_NOT_FOUND."""
        return ChatterboxUtterance(self, config, self._voices.conditionals(config.voice, config.model))

    def text(self, segment: Segment, language: str) -> torch.Tensor:
        """Return the tokens (tokens,) of a segment's text. Raises CallerError."""
        return text_tokens(
            segment.text.strip(),
            model=self.model,
            tokenizer=self._tokenizer,
            language=language,
            vocabulary=self._vocabulary,
        )

    def __repr__(self) -> str:
        return f"<ChatterboxSpeech {self.model} on {self.device}>"


class ChatterboxUtterance:
    """One utterance: its voice on the device, its settings, and how many decodes it has had."""

    def __init__(self, speech: ChatterboxSpeech, config: SessionConfig, voice: VoiceConditionals) -> None:
        self.speech = speech
        self.config = config
        self.sampling = sampling_of(config.settings, speech.model)
        self.decodes = 0
        self._voice = voice

    def voice(self) -> VoiceConditionals:
        """Return the voice on the device, which it reaches when it is first needed."""
        self._voice = self._voice.to(self.speech.device)
        return self._voice

    def segment(self, segment: Segment, index: int) -> "ChatterboxSegment":
        """Begin to speak a segment."""
        return ChatterboxSegment(self, segment, index)

    def __repr__(self) -> str:
        return f"<ChatterboxUtterance {self.config.voice} | {self.decodes} decodes>"


class _Stage(Enum):
    """Whose turn it is."""

    TOKENS = "tokens"
    MEL = "mel"
    WAVEFORM = "waveform"
    ENDED = "ended"


_MODULES: Final = {
    _Stage.TOKENS: frozenset({T3}),
    _Stage.MEL: frozenset({S3GEN_FLOW}),
    _Stage.WAVEFORM: frozenset({S3GEN_VOCODER}),
    _Stage.ENDED: frozenset[ModuleName](),
}


class ChatterboxSegment:
    """One segment on its way."""

    def __init__(self, utterance: ChatterboxUtterance, segment: Segment, index: int) -> None:
        self._utterance = utterance
        self._segment = segment
        self._random = CounterRandom(seed=utterance.config.seed, segment=index, device=utterance.speech.device)
        self._stage = _Stage.TOKENS
        self._cancelled = False
        self._tokens: SpeechTokens | None = None
        self._fresh: list[int] = []
        self._mel_state = MelState()
        self._mel = torch.zeros(0)
        self._waveform_state = WaveformState()
        self._outcome = SpeechOutcome()

    @property
    def next_modules(self) -> frozenset[ModuleName]:
        """The module of the stage whose turn it is; none once the segment has ended."""
        return _MODULES[_Stage.ENDED if self._cancelled else self._stage]

    @property
    def outcome(self) -> SpeechOutcome:
        """How many tokens it had, and what ended them."""
        return self._outcome

    def cancel(self) -> None:
        """End before the next token or stage; may be called from any thread."""
        self._cancelled = True
        if self._tokens is not None:
            self._tokens.cancel()

    def step(self, leased: Modules) -> Waveform:
        """Take one stage's turn, or a part of it; return the waveform (samples,) that it brings."""
        match self._stage:
            case _Stage.TOKENS:
                self._speak_tokens(leased[T3])
            case _Stage.MEL:
                self._decode_mel(leased[S3GEN_FLOW])
            case _Stage.WAVEFORM:
                return self._sound(leased[S3GEN_VOCODER])
            case _Stage.ENDED:
                raise AssertionError("the segment has ended")
        return np.zeros(0, np.float32)

    @property
    def _is_last(self) -> bool:
        """Whether no token follows those that there are."""
        return self._tokens is not None and self._tokens.finish is not None

    def _begun(self) -> SpeechTokens:
        utterance = self._utterance
        if self._tokens is None:
            self._tokens = SpeechTokens(
                TokenRequest(
                    model=utterance.speech.model,
                    text=utterance.speech.text(self._segment, utterance.config.language),
                    voice=utterance.voice().tokens,
                    sampling=utterance.sampling,
                    text_budget=token_budget(self._segment.text),
                ),
                self._random,
            )
        return self._tokens

    def _speak_tokens(self, t3: Any) -> None:
        tokens = self._begun()
        wanted = chunk_tokens(self._utterance.speech.schedule, self._utterance.decodes)
        for _ in range(TOKENS_AT_ONCE):
            if self._cancelled or tokens.finish is not None or len(self._fresh) >= wanted:
                break
            token = tokens.step(t3)
            if token is not None:
                self._fresh.append(token)
        if tokens.finish is not None:
            self._note_end(tokens)
        if tokens.finish is not None or len(self._fresh) >= wanted:
            self._stage = _Stage.MEL if self._fresh or self._mel_state.tokens else _Stage.ENDED

    def _note_end(self, tokens: SpeechTokens) -> None:
        assert tokens.finish is not None
        spoken = sum(token < CODEBOOK_TOKENS for token in tokens.history)
        self._outcome = SpeechOutcome(speech_tokens=spoken, guard=_GUARDS.get(tokens.finish))
        if self._utterance.speech.model is ChatterboxModel.TURBO and spoken:
            self._fresh += TURBO_TAIL

    def _decode_mel(self, flow: Any) -> None:
        state = with_tokens(self._mel_state, self._fresh)
        prompt = self._utterance.voice().prompt
        self._mel_state, self._mel = decode_mel(flow, state, prompt, self._random, final=self._is_last)
        self._fresh = []
        self._utterance.decodes += 1
        self._stage = _Stage.WAVEFORM

    def _sound(self, vocoder: Any) -> Waveform:
        self._waveform_state, wave = sound(
            vocoder, self._waveform_state, self._mel, self._random, ahead=self._mel_state.held, final=self._is_last
        )
        self._stage = _Stage.ENDED if self._is_last else _Stage.TOKENS
        heard: Waveform = wave.float().cpu().numpy()
        return heard

    def __repr__(self) -> str:
        return f"<ChatterboxSegment {self._stage.value} | {self._mel_state!r}>"


def model_settings(model: ChatterboxModel) -> SettingValues:
    """Return the settings that a model has, with its defaults."""
    return settings_of(default_sampling(model), model)


def sampling_of(settings: SettingValues, model: ChatterboxModel) -> Sampling:
    """Return a request's settings, whose values have been checked against the model's, as the token loop takes them."""
    own: dict[str, Any] = dict(settings)
    return replace(default_sampling(model), **own)
