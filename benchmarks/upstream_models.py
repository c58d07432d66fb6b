"""Upstream's own three classes, without their watermark: measured beside ours, and what fidelity is tested with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.upstream_t3 import upstream_twin
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.s3gen_network import (
    S3GEN_FLOW,
    S3GEN_SPEAKER_ENCODER,
    S3GEN_TOKENIZER,
    S3GEN_VOCODER,
    VOICE_ENCODER,
)
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.text_tokenizers import load_text_tokenizer
from tts_service.models.chatterbox.turbo_tokenizer import transformers_tokenizer
from tts_service.models.chatterbox.upstream import quiet, upstream

_CLASSES: Final = {
    ChatterboxModel.ENGLISH: ("tts", "ChatterboxTTS"),
    ChatterboxModel.MULTILINGUAL: ("mtl_tts", "ChatterboxMultilingualTTS"),
    ChatterboxModel.TURBO: ("tts_turbo", "ChatterboxTurboTTS"),
}


class Unmarked:
    """A watermarker that marks nothing."""

    def apply_watermark(self, wav: Any, sample_rate: int) -> Any:
        """Return the same samples."""
        del sample_rate
        return wav

    def __repr__(self) -> str:
        return "<Unmarked>"


def upstream_loaded(folder: Path, model: ChatterboxModel, device: str) -> Any:
    """Return upstream's object as its own `from_local` makes it, which knows the full size only."""
    with _unmarked(folder, model) as made:
        return _with_single_precision(made.from_local(folder, device))


def upstream_assembled(folder: Path, model: ChatterboxModel, device: str = "cpu") -> Any:
    """Return upstream's object, of either size, around networks that our loader has filled."""
    weights = open_weights(folder, model)
    voice = read_conditionals(folder / CONDITIONALS_FILE)
    module = upstream(_CLASSES[model][0])
    conditionals = module.Conditionals(module.T3Cond(**voice.t3), dict(voice.gen)).to(device)
    with _unmarked(folder, model) as made:
        theirs = made(
            upstream_twin(weights.load(T3).to(device)),
            _s3gen(weights, meanflow=model is ChatterboxModel.TURBO).to(device),
            weights.load(VOICE_ENCODER).to(device),
            transformers_tokenizer(folder) if model is ChatterboxModel.TURBO else load_text_tokenizer(folder, model),
            device,
            conds=conditionals,
        )
        return _with_single_precision(theirs)


def upstream_limited(theirs: Any, model: ChatterboxModel, tokens: int) -> None:
    """Make upstream's object end an utterance after so many tokens, where its code says 1,000."""
    name, argument = (
        ("inference_turbo", "max_gen_len") if model is ChatterboxModel.TURBO else ("inference", "max_new_tokens")
    )
    unlimited = getattr(theirs.t3, name)

    def limited(**arguments: Any) -> Any:
        return unlimited(**arguments | {argument: tokens})

    setattr(theirs.t3, name, limited)


@contextmanager
def _unmarked(folder: Path, model: ChatterboxModel) -> Iterator[Any]:
    """Give upstream's class while it makes no watermarker, and Multilingual's tokenizer asks no server."""
    name, class_name = _CLASSES[model]
    module = upstream(name)
    with quiet(), patch.object(module.perth, "PerthImplicitWatermarker", Unmarked):
        if model is not ChatterboxModel.MULTILINGUAL:
            yield getattr(module, class_name)
            return
        tokenizer = load_text_tokenizer(folder, model)
        with patch.object(module, "MTLTokenizer", lambda _path: tokenizer):
            yield getattr(module, class_name)


def _with_single_precision(theirs: Any) -> Any:
    """Let Turbo's loudness be in float32, as it is with the numpy < 2 that upstream asks for; else it fails."""
    normalise = getattr(theirs, "norm_loudness", None)
    if normalise is not None:
        theirs.norm_loudness = lambda wav, sr: normalise(wav, sr).astype(np.float32)
    return theirs


def _s3gen(weights: ModelWeights, *, meanflow: bool) -> Any:
    """Return upstream's S3Gen around loaded networks: its constructors run, but for those of the networks."""
    module = upstream("models.s3gen.s3gen")
    vocoder = weights.load(S3GEN_VOCODER)

    def parts(self: Any, meanflow: bool) -> None:  # noqa: FBT001 - upstream's signature.
        torch.nn.Module.__init__(self)
        self.tokenizer, self.flow = weights.load(S3GEN_TOKENIZER), weights.load(S3GEN_FLOW)
        self.speaker_encoder = weights.load(S3GEN_SPEAKER_ENCODER)
        self.mel_extractor, self.meanflow, self.resamplers = module.mel_spectrogram, meanflow, {}

    def loaded_vocoder(**_: Any) -> Any:
        return vocoder

    made = patch.multiple(module, HiFTGenerator=loaded_vocoder, ConvRNNF0Predictor=dict)
    with made, patch.object(module.S3Token2Mel, "__init__", parts), quiet():
        return module.S3Token2Wav(meanflow=meanflow).eval()
