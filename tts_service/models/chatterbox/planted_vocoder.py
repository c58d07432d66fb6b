"""What is planted in the vocoder's random weights, so that what it makes is voiced and has a speaker's level.

Rules
* One slow sum over the mel decides: where it is below 0 there is no voice, above that f0 runs from LOWEST_HERTZ to
  HIGHEST_HERTZ. It is made by the f0 predictor's own layers, and scaled by a mel of the model's own flow.
* Magnitudes are scaled until that mel has PEAK.
"""

import contextlib
import io
import math
from typing import Any, Final

import torch

from tts_service.models.chatterbox.upstream import quiet

LOWEST_HERTZ: Final = 95.0
HIGHEST_HERTZ: Final = 270.0
VOICED_ABOVE: Final = 0.5
"""In deviations above the mean of the deciding sum's negative: about two thirds of the frames are voiced."""

RANGE: Final = 3.0
"""Deviations that the voiced range spans."""

STEP: Final = 0.02
"""Deviations between no voice and the lowest."""

SHARPNESS: Final = 1_000.0
"""Of the bends, which an ELU rounds off over 1 / SHARPNESS deviations."""

PEAK: Final = 0.4
MAGNITUDE_DEVIATION: Final = 0.3


def calibration_mel(flow: Any, voice: Any, *, tokens: int, meanflow: bool, seed: int) -> torch.Tensor:
    """Return a mel, shape (1, 80, 2 * tokens), of random tokens, by upstream's own function."""
    with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(io.StringIO()), quiet():
        torch.manual_seed(seed)
        with contextlib.redirect_stderr(io.StringIO()):
            mel, _ = flow.inference(
                token=torch.randint(0, flow.vocab_size, (1, tokens)),
                token_len=torch.tensor([tokens]),
                finalize=True,
                n_timesteps=2 if meanflow else 10,
                meanflow=meanflow,
                **voice,
            )
    copied: torch.Tensor = mel.clone()  # Out of inference mode.
    return copied


def plant_vocoder(vocoder: Any, mel: torch.Tensor, *, seed: int) -> None:
    """Change a vocoder's weights so that a mel like this one sounds like a voice."""
    with torch.no_grad():
        _plant_f0(vocoder.f0_predictor, mel)
        _plant_level(vocoder, mel, seed)


def _plant_f0(predictor: Any, mel: torch.Tensor) -> None:
    """Make f0 from three channels of the last layer, each a bend of the deciding sum: two a step, one the top."""
    layers = predictor.condnet[::2]
    for layer in layers:
        taps = layer.parametrizations.weight.original1
        taps.copy_(taps.mean(dim=2, keepdim=True).expand_as(taps))
        layer.parametrizations.weight.original0.copy_(taps.flatten(1).norm(dim=1).reshape(-1, 1, 1) * math.sqrt(3))
    last = layers[-1]
    weight = last.parametrizations.weight
    decided = last(predictor.condnet[:-2](mel))[0, 0] - last.bias[0]
    mean, deviation = _rounded(decided.mean()), _rounded(decided.std())
    for channel, bend in enumerate((0.0, STEP, RANGE)):
        weight.original1[channel] = weight.original1[0]
        weight.original0[channel] = weight.original0[0] if channel else weight.original0[0] * SHARPNESS / deviation
        last.bias[channel] = SHARPNESS * (VOICED_ABOVE - mean / deviation - bend)
    slope = (HIGHEST_HERTZ - LOWEST_HERTZ) / RANGE
    predictor.classifier.weight.zero_()
    predictor.classifier.bias.zero_()
    bends = (LOWEST_HERTZ / STEP + slope, -LOWEST_HERTZ / STEP, -slope)
    predictor.classifier.weight[0, : len(bends)] = torch.tensor(bends) / SHARPNESS


def _plant_level(vocoder: Any, mel: torch.Tensor, seed: int) -> None:
    magnitudes = vocoder.istft_params["n_fft"] // 2 + 1
    vocoder.conv_post.parametrizations.weight.original0[:magnitudes] *= MAGNITUDE_DEVIATION
    vocoder.conv_post.bias[:magnitudes] = math.log(0.02)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        samples = vocoder.inference(speech_feat=mel)[0]
    peak = _rounded(samples.abs().flatten().kthvalue(int(0.999 * samples.numel())).values)
    vocoder.conv_post.bias[:magnitudes] = math.log(0.02 * PEAK / peak)


def _rounded(value: torch.Tensor) -> float:
    """Keep two digits, which another machine's order of additions does not change."""
    return float(f"{float(value):.1e}")
