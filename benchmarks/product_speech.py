"""Speech as the product makes it, step by step, with the times of its chunks."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.device_memory import wait_for_device
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import ModelWeights
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.text_tokenizers import load_text_tokenizer
from tts_service.models.chatterbox.vocabulary import START_TOKEN, STOP_TOKEN
from tts_service.speech.chatterbox_speech import ChatterboxSpeech, model_settings
from tts_service.speech.session_config import Aggregation, Pacing, SessionConfig
from tts_service.speech.speech_model import next_stage
from tts_service.speech.text_tokens import text_vocabulary
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, AudioFormat, ModuleName, Segment, Waveform

TEXT: Final = (
    "Every actor waits in the green room until a voice calls, and comes on stage in the time that a breath takes."
)


class GivenVoices:
    """Voices by id, in memory."""

    def __init__(self, voices: Mapping[str, VoiceConditionals]) -> None:
        self.voices = dict(voices)

    def conditionals(self, voice_id: str, model: str) -> VoiceConditionals:
        """Return a voice."""
        del model
        return self.voices[voice_id]

    def __repr__(self) -> str:
        return f"<GivenVoices {', '.join(self.voices)}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An utterance: its samples, and when each of its chunks was there, in seconds from its start."""

    samples: Waveform
    chunk_seconds: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.chunk_seconds[-1]

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of speech."""
        return self.seconds * MODEL_SAMPLE_RATE_HERTZ / len(self.samples)

    @property
    def chunk_lengths(self) -> tuple[float, ...]:
        """How long each chunk took."""
        return tuple(end - start for start, end in pairwise((0.0, *self.chunk_seconds)))


class ProductSpeech:
    """Our speech of one model with given voices, on a device."""

    def __init__(self, folder: Path, weights: ModelWeights, voices: GivenVoices, device: str) -> None:
        self._model = weights.layout.model
        self._device = device
        self._speech = ChatterboxSpeech(
            self._model,
            voices=voices,
            tokenizer=load_text_tokenizer(folder, self._model),
            vocabulary=text_vocabulary(t3_hyper_parameters(self._model, weights.size), self._model),
            device=torch.device(device),
        )

    def __repr__(self) -> str:
        return f"<ProductSpeech {self._speech!r}>"

    def speak(
        self, modules: Mapping[ModuleName, Any], *, voice: str, seed: int, max_tokens: int | None = None
    ) -> Spoken:
        """Speak TEXT as one segment; a chunk is there when the device has finished it."""
        began = time.perf_counter()
        config = product_config(self._model, voice, seed, max_tokens)
        segment = self._speech.utterance(config).segment(_SEGMENT, 0)
        pieces, times = [], []
        while (stage := next_stage(segment.stages)) is not None:
            piece = stage.step({name: modules[name] for name in stage.modules})
            if piece is not None and len(piece):
                wait_for_device(self._device)
                pieces.append(np.asarray(piece))
                times.append(time.perf_counter() - began)
        return Spoken(samples=np.concatenate(pieces), chunk_seconds=tuple(times))


def product_config(model: ChatterboxModel, voice: str, seed: int, max_tokens: int | None) -> SessionConfig:
    """Return a configuration in force, unpaced, with the model's own settings."""
    limit = {} if max_tokens is None else {"max_segment_tokens": max_tokens}
    return SessionConfig(
        model=model.value,
        voice=voice,
        language="en",
        audio_format=AudioFormat(),
        seed=seed,
        speaking_rate=1.0,
        text_aggregation=Aggregation.SERVER,
        max_buffer_delay=3.0,
        pacing=Pacing.NONE,
        max_audio_ahead=4.0,
        settings={**model_settings(model), **limit},
    )


def never_stop(t3: Any) -> None:
    """Make a synthetic T3 speak up to its limit: its stop token becomes as unlikely as its start token."""
    with torch.no_grad():
        t3.speech_head.weight[STOP_TOKEN] = t3.speech_head.weight[START_TOKEN]


def speaks_on(model: ChatterboxModel) -> bool:
    """Tell whether `never_stop` is enough: Multilingual's alignment guard ends an utterance all the same."""
    return model is not ChatterboxModel.MULTILINGUAL


_SEGMENT: Final = Segment(text=TEXT, text_start=0, text_end=len(TEXT.encode()))
