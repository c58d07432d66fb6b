"""S3Gen's networks with random weights that are planted, so that what they make behaves like speech.

Naive random weights predict an f0 near 0 (nothing is voiced) and waveforms far below or above full scale. Here f0 runs
up to 240 Hz with unvoiced stretches, and the waveform has a peak of about a half.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from unittest.mock import patch

import torch

from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import (
    MEL_BANDS,
    SPEAKER_VALUES,
    build_flow,
    build_tokenizer,
    build_vocoder,
)
from tts_service.models.chatterbox.upstream import quiet, upstream
from tts_service.speech.mel_flow import MelPrompt

PLANTED_SEED = 7
CALIBRATION_FRAMES = 400
RESIDUAL_GAIN = 0.7

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyS3Gen:
    """The two networks of the sound path, and a voice."""

    flow: Any
    vocoder: Any
    prompt: MelPrompt


def leaving_torch_random(build: Callable[P, T]) -> Callable[P, T]:
    """Make a builder keep torch's random state: upstream's constructors draw, and tests build after they seed."""

    @functools.wraps(build)
    def built(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.random.fork_rng(devices=[]):
            return build(*args, **kwargs)

    return built


@leaving_torch_random
def planted_s3gen(
    size: NetworkSize = NetworkSize.TINY, *, meanflow: bool = False, prompt_tokens: int = 20, odd_frames: int = 0
) -> TinyS3Gen:
    """Return planted networks and a prompt of this length, whose mel may have `odd_frames` more than two a token."""
    torch.set_num_threads(1)  # Networks as small as these are slower on several.
    generator = torch.Generator().manual_seed(PLANTED_SEED)
    flow: Any = randomised(build_flow(size, meanflow=meanflow), generator)
    vocoder: Any = randomised(build_vocoder(size), generator)
    prompt = MelPrompt(
        tokens=torch.randint(0, 6561, (prompt_tokens,), generator=generator),
        mel=smooth_mel(2 * prompt_tokens + odd_frames, generator).T.contiguous(),
        speaker=torch.randn(SPEAKER_VALUES, generator=generator),
    )
    plant_vocoder(vocoder, torch.randn(MEL_BANDS, CALIBRATION_FRAMES, generator=generator))
    return TinyS3Gen(flow=flow, vocoder=vocoder, prompt=prompt)


@leaving_torch_random
def upstream_s3gen(planted: TinyS3Gen) -> Any:
    """Return upstream's own S3Token2Wav, made by its own constructor, around the planted networks."""
    module = upstream("models.s3gen.s3gen")
    tokenizer = randomised(build_tokenizer(NetworkSize.TINY), torch.Generator().manual_seed(PLANTED_SEED))

    def networks(self: Any, meanflow: bool) -> None:  # noqa: FBT001 - upstream's signature.
        torch.nn.Module.__init__(self)
        self.tokenizer, self.flow, self.meanflow = tokenizer, planted.flow, meanflow

    def vocoder(**_: Any) -> Any:
        return planted.vocoder

    parts = patch.multiple(module, HiFTGenerator=vocoder, ConvRNNF0Predictor=dict)
    with parts, patch.object(module.S3Token2Mel, "__init__", networks), quiet():
        return module.S3Token2Wav(meanflow=planted.flow.decoder.estimator.meanflow).eval()


def upstream_conditionals(prompt: MelPrompt) -> dict[str, Any]:
    """Return a prompt as upstream's `embed_ref` would."""
    return {
        "prompt_token": prompt.tokens[None],
        "prompt_token_len": torch.tensor([len(prompt.tokens)]),
        "prompt_feat": prompt.mel[None],
        "prompt_feat_len": None,
        "embedding": prompt.speaker[None],
    }


def smooth_mel(frames: int, generator: torch.Generator) -> torch.Tensor:
    """Return a mel-like tensor (80, frames) that changes over about five frames."""
    noise = torch.randn(1, MEL_BANDS, frames + 8, generator=generator)
    return torch.nn.functional.avg_pool1d(noise, 9, stride=1)[0] * 3.0


def randomised(module: torch.nn.Module, generator: torch.Generator) -> torch.nn.Module:
    """Give a module built without weights random ones that keep signals at about their size."""
    state = {name: _random(name, value, generator) for name, value in module.state_dict().items()}
    for name, value in state.items():
        if name.endswith("original0"):  # A normalised weight's length: as random as its direction.
            length = state[name[:-1] + "1"].flatten(1).norm(dim=1).reshape(value.shape)
            # Residual blocks add little each: with more, rounding errors of the input grow to be heard.
            state[name] = length * (RESIDUAL_GAIN if "resblocks" in name else 1.0)
    module.load_state_dict(state, assign=True)
    return module.requires_grad_(requires_grad=False)


def _random(name: str, value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if not value.is_meta:
        return value
    if not value.dtype.is_floating_point:
        return torch.zeros(value.shape, dtype=value.dtype)
    if name.endswith("alpha"):
        return torch.full(value.shape, 0.5)
    if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
        return torch.ones(value.shape)
    if value.ndim < 2:
        return 0.1 * torch.randn(value.shape, generator=generator)
    fan_in = 1 if "embedding" in name else math.prod(value.shape[1:])
    return torch.randn(value.shape, generator=generator) / math.sqrt(fan_in)


@leaving_torch_random
def plant_vocoder(vocoder: Any, mel: torch.Tensor) -> None:
    """Scale the f0 predictor and the last convolution so that this mel gives a voice at about half of full scale."""
    with torch.no_grad():
        _plant_f0(vocoder.f0_predictor, mel)
        _plant_level(vocoder, mel)


def _plant_f0(predictor: Any, mel: torch.Tensor) -> None:
    """Make f0 = 110 (ELU(x) - ELU(x - 2.2)), a soft step from 0 to 242 Hz, where x changes slowly around 1.

    One channel of the last convolution is x, the next is the same but for its bias. f0 < 10 Hz where x < -2.2.
    """
    for layer in predictor.condnet[::2]:
        taps = layer.parametrizations.weight.original1
        taps.copy_(taps.mean(dim=2, keepdim=True).expand_as(taps) * math.sqrt(3))
    last = predictor.condnet[-2]
    channel = last(predictor.condnet[:-2](mel[None]))[0, 0]
    lengths, directions = last.parametrizations.weight.original0, last.parametrizations.weight.original1
    scale = 2.5 / channel.std()
    lengths[0] *= scale
    lengths[1], directions[1] = lengths[0], directions[0]
    last.bias[0] = 1.0 - scale * (channel.mean() - last.bias[0])
    last.bias[1] = last.bias[0] - 2.2
    predictor.classifier.weight.zero_()
    predictor.classifier.weight[0, 0], predictor.classifier.weight[0, 1] = 110.0, -110.0
    predictor.classifier.bias.zero_()


def _plant_level(vocoder: Any, mel: torch.Tensor) -> None:
    """Give the logarithms of the magnitudes a deviation of about 1 around a level that makes the peak a half.

    The phases are within 1 radian, so that the lowest two frequencies would put a constant under everything else.
    """
    convolution, magnitudes = vocoder.conv_post, vocoder.istft_params["n_fft"] // 2 + 1
    convolution.parametrizations.weight.original0[:magnitudes] *= 0.35
    convolution.bias[:magnitudes] = 0.0
    convolution.bias[:2] = -8.0
    convolution.parametrizations.weight.original0[:2] *= 0.1
    torch.manual_seed(PLANTED_SEED)
    peak = torch.quantile(_loudness(vocoder, mel), 0.99)
    convolution.bias[:magnitudes] += torch.log(0.3 / peak)


def _loudness(vocoder: Any, mel: torch.Tensor) -> torch.Tensor:
    """Return how far each sample would be from 0 if the vocoder did not limit it."""
    vocoder.audio_limit = math.inf
    wave: torch.Tensor = vocoder.inference(speech_feat=mel[None])[0].abs()
    vocoder.audio_limit = 0.99
    return wave
