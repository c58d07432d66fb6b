"""The networks that make a voice, tiny and random, and upstream's own `prepare_conditionals` around them."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.fakes.tiny_s3gen import PLANTED_SEED, randomised
from tests.fakes.waves import speechlike
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import (
    S3GEN_SPEAKER_ENCODER,
    S3GEN_TOKENIZER,
    VOICE_ENCODER,
    build_speaker_encoder,
    build_tokenizer,
    build_voice_encoder,
)
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.upstream import quiet, upstream
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.types import ModuleName

UPSTREAM_CLASSES = {
    ChatterboxModel.ENGLISH: ("tts", "ChatterboxTTS"),
    ChatterboxModel.MULTILINGUAL: ("mtl_tts", "ChatterboxMultilingualTTS"),
    ChatterboxModel.TURBO: ("tts_turbo", "ChatterboxTurboTTS"),
}


TOKEN_DEVIATION = 1.5
"""Of the eight numbers that are rounded to -1, 0 or 1, behind a hyperbolic tangent."""


@functools.cache
def tiny_encoders() -> dict[ModuleName, Any]:
    """Return the three networks by their modules' names, planted so that they tell recordings apart; all share them."""
    torch.set_num_threads(1)
    builders = {
        S3GEN_TOKENIZER: build_tokenizer,
        S3GEN_SPEAKER_ENCODER: build_speaker_encoder,
        VOICE_ENCODER: build_voice_encoder,
    }
    encoders: dict[ModuleName, Any] = {
        name: randomised(build(NetworkSize.TINY), torch.Generator().manual_seed(PLANTED_SEED))
        for name, build in builders.items()
    }
    _plant_tokens(encoders[S3GEN_TOKENIZER])
    _plant_speakers(encoders[S3GEN_SPEAKER_ENCODER])
    return encoders


def _plant_tokens(tokenizer: Any) -> None:
    """Widen what is rounded to tokens: random weights give the middle of the codebook nearly always."""
    project = tokenizer.quantizer._codebook.project_down  # Upstream's only name for it.
    seen: list[torch.Tensor] = []
    listening = project.register_forward_hook(lambda _module, _given, made: seen.append(made.flatten(0, -2)))
    tokenizer([speechlike(48_000)])
    listening.remove()
    gain = TOKEN_DEVIATION / seen[0].std(dim=0)
    with torch.no_grad():
        project.bias.sub_(seen[0].mean(dim=0)).mul_(gain)
        project.weight.mul_(gain[:, None])


def _plant_speakers(speaker_encoder: Any) -> None:
    """Normalise every layer by two recordings, as training would: random layers let signals die away."""
    *norms, last = [
        each for each in speaker_encoder.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
        norm.momentum = 1.0
    last.momentum = 0.0  # It sees one vector a recording, and those of two say nothing of others.
    speaker_encoder.train()
    with torch.no_grad():
        speaker_encoder.inference(torch.from_numpy(np.stack([speechlike(48_000, seed=each) for each in (1, 2)])))
    speaker_encoder.eval()


def upstream_voice(encoders: dict[ModuleName, Any], model: ChatterboxModel, path: Path) -> VoiceConditionals:
    """Return the voice that upstream makes of a file, with the same networks."""
    file, name = UPSTREAM_CLASSES[model]
    speaker = _without_weights(upstream(file), name)
    speaker.s3gen = _s3gen(encoders)
    speaker.ve = encoders[VOICE_ENCODER]
    speaker.t3 = torch.nn.Module()
    speaker.t3.hp = t3_hyper_parameters(model, NetworkSize.TINY)
    speaker.device = "cpu"
    with quiet():
        speaker.prepare_conditionals(path)
    return VoiceConditionals.from_upstream(speaker.conds.t3.__dict__, speaker.conds.gen)


def _without_weights(module: Any, name: str) -> Any:
    """Return one of upstream's models that holds nothing yet.

    NumPy 2 makes float64 of its loudness's product, which its own networks then refuse. NumPy 1, which it pins, keeps
    float32.
    """
    made_from = getattr(module, name)

    class Speaker(made_from):  # type: ignore[misc]  # Upstream has no types.
        def __init__(self) -> None:
            pass

        def norm_loudness(self, wav: Any, sr: int, target_lufs: float = -27) -> Any:
            return super().norm_loudness(wav, sr, target_lufs).astype(np.float32)

    return Speaker()


def _s3gen(encoders: dict[ModuleName, Any]) -> Any:
    """Return upstream's S3Token2Mel with only what `embed_ref` needs."""
    module = upstream("models.s3gen.s3gen")
    s3gen = module.S3Token2Mel.__new__(module.S3Token2Mel)
    torch.nn.Module.__init__(s3gen)
    s3gen.tokenizer, s3gen.speaker_encoder = encoders[S3GEN_TOKENIZER], encoders[S3GEN_SPEAKER_ENCODER]
    s3gen.flow = torch.nn.Linear(1, 1)  # It is asked for its type of numbers.
    s3gen.mel_extractor = module.mel_spectrogram
    return s3gen
