"""A Chatterbox model of tiny weights that speaks: modules from disk, voices from numbers, steps taken by hand."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fakes.tiny_weights import tiny_folder
from tts_service.errors import CallerError, Reason
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.text_tokenizers import load_text_tokenizer
from tts_service.speech.chatterbox_speech import ChatterboxSpeech, model_settings
from tts_service.speech.session_config import Aggregation, Pacing, SessionConfig
from tts_service.speech.speech_model import SegmentSpeech, next_stage
from tts_service.speech.stages import Stages
from tts_service.speech.text_tokens import text_vocabulary
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.types import AudioFormat, ModuleName, Segment, Waveform

DEFAULT_VOICE = "default"


class KnownVoices:
    """Voices by id, and nothing else."""

    def __init__(self, voices: Mapping[str, VoiceConditionals]) -> None:
        self.voices = dict(voices)

    def conditionals(self, voice_id: str, model: str) -> VoiceConditionals:
        """Return a voice."""
        del model
        if voice_id not in self.voices:
            raise CallerError(Reason.VOICE_NOT_FOUND, f"there is no voice {voice_id!r}")
        return self.voices[voice_id]

    def __repr__(self) -> str:
        return f"<KnownVoices {len(self.voices)}>"


class TinyChatterbox:
    """A model of tiny synthetic weights with its modules at hand."""

    def __init__(self, temporary: Path, model: ChatterboxModel, *, stages: Stages | None = None) -> None:
        folder = tiny_folder(temporary, model)
        self.model = model
        self.weights: ModelWeights = open_weights(folder, model)
        content = read_conditionals(folder / "conds.pt")
        self.voice = VoiceConditionals.from_upstream(content.t3, content.gen)
        self.voices = KnownVoices({DEFAULT_VOICE: self.voice})
        self.speech = ChatterboxSpeech(
            model,
            voices=self.voices,
            tokenizer=load_text_tokenizer(folder, model),
            vocabulary=text_vocabulary(t3_hyper_parameters(model, self.weights.size), model),
            device=torch.device("cpu"),
            stages=stages,
        )
        self.modules: dict[ModuleName, Any] = {name: self.weights.load(name) for name in self.weights.modules}

    def config(self, *, voice: str = DEFAULT_VOICE, seed: int = 1, **settings: float) -> SessionConfig:
        """Return a configuration in force; `settings` are sampling settings."""
        return SessionConfig(
            model=self.model.value,
            voice=voice,
            language="en",
            audio_format=AudioFormat(),
            seed=seed,
            speaking_rate=1.0,
            text_aggregation=Aggregation.SERVER,
            max_buffer_delay=3.0,
            pacing=Pacing.NONE,
            max_audio_ahead=4.0,
            settings={**model_settings(self.model), **settings},
        )

    def spoken(self, config: SessionConfig, *texts: str) -> Waveform:
        """Return the speech of an utterance of these segments, one after the other."""
        return np.concatenate(list(self.pieces(config, *texts)))

    def pieces(self, config: SessionConfig, *texts: str) -> Iterator[Waveform]:
        """Yield what every step of an utterance brings, empty or not, so that utterances can take turns."""
        utterance = self.speech.utterance(config)
        for index, text in enumerate(texts):
            yield from self.steps(utterance.segment(segment_of(text), index))

    def steps(
        self, segment: SegmentSpeech, before: Callable[[frozenset[ModuleName]], None] = lambda _: None
    ) -> Iterator[Waveform]:
        """Yield what every step of a segment brings; `before` runs ahead of each, with the modules it needs."""
        while (stage := next_stage(segment.stages)) is not None:
            before(stage.modules)
            sound = stage.step({name: self.modules[name] for name in stage.modules})
            yield np.zeros(0, np.float32) if sound is None else np.asarray(sound)

    def moved(self, modules: frozenset[ModuleName]) -> None:
        """Let modules go, and load them again elsewhere."""
        for name in modules:
            del self.modules[name]
            self.modules[name] = self.weights.load(name)

    def __repr__(self) -> str:
        return f"<TinyChatterbox {self.model}>"


def segment_of(text: str) -> Segment:
    """Return a segment that is all of its utterance's text."""
    return Segment(text=text, text_start=0, text_end=len(text.encode()))
