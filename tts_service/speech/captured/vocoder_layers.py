"""The vocoder's networks over windows that are longer than what they hold: f0 of mel, and the waveform of both.

Rules
* Weights are upstream's module's. `layer.weight` is computed anew where it is kept as a length and a direction.
* Every layer's output is zero from the window's end on (see `vocoder_operations`), so that real samples are those of
  upstream's network, which ends there.
* A transposed convolution is a matrix product and a sum of what overlaps: the same bits every time, whatever
  algorithms a library may choose.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tts_service.speech.captured.vocoder_operations import Extent, VocoderOperations
from tts_service.speech.captured.vocoder_spectra import (
    BINS,
    STEPS_PER_FRAME,
    SpectrumTables,
    each_multiplied,
    sounded_spectrum,
    source_spectrum,
)

_LAST_SLOPE = 0.01
"""Upstream calls `leaky_relu` without its own slope before the last convolution."""

_MAX_MAGNITUDE = 1e2
"""Upstream's clip in `_istft`."""

_PRODUCT_CHANNELS = 256
_PRODUCT_TAPS = 7
"""From so many channels and taps on, a convolution is a matrix product of what each tap sees.

Measured on an H100, fp32, a layer of the vocoder at 96 frames, in microseconds, cuDNN (deterministic) against product:
256 channels: 22 and 21 with 3 taps, 47 and 34 with 7, 70 and 47 with 11. 128 channels: 20 and 26, 41 and 45, 63 and 66.
64 channels: 19 and 25, 37 and 47, 55 and 64. cuDNN with channels last is never the shortest.
"""


def predicted_f0(predictor: Any, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return f0 (windows, n) in hertz of mel (windows, 80, n), zero from each one's `frames` (windows,) on."""
    held = Extent(frames=frames).holds(mel.shape[2])
    hidden = mel
    for layer in predictor.condnet[::2]:
        hidden = torch.where(held, functional.elu(layer(hidden)), 0.0)
    f0: torch.Tensor = predictor.classifier(hidden.transpose(1, 2).flatten(0, 1))[:, 0].abs()
    return f0.view(len(mel), -1)


def _risen(extent: Extent, layer: Any, *, last: bool) -> Extent:
    """Return the extent of a layer's output; the last has a reflected step before its first."""
    rate = extent.rate * layer.stride[0]
    assert not last or rate == STEPS_PER_FRAME, "these are not upstream's rates"
    return Extent(frames=extent.frames, rate=rate, extra=int(last))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """The part of the vocoder that shapes an excitation: upstream's `decode`."""

    vocoder: Any
    operations: VocoderOperations
    tables: SpectrumTables

    def wave(self, mel: torch.Tensor, source: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return the waveforms (windows, 480 n) of mel (windows, 80, n) and excitations (windows, 480 n).

        `frames` (windows,) of each are real; what is beyond these is anything.
        """
        vocoder, first, last = self.vocoder, self.vocoder.conv_pre, self.vocoder.conv_post
        spectrum = source_spectrum(self.tables, source, frames)
        slopes = [vocoder.lrelu_slope] * (vocoder.num_upsamples - 1) + [_LAST_SLOPE]
        extent = Extent(frames=frames)
        hidden = self.operations.leaked(_convolved(first, mel), first.bias, extent, vocoder.lrelu_slope)
        for stage, slope in enumerate(slopes):
            extent = _risen(extent, vocoder.ups[stage], last=stage == vocoder.num_upsamples - 1)
            hidden = self._raised(stage, hidden, self._excited(stage, spectrum, extent), extent)
            hidden = self.operations.mixed(self._branches(stage, hidden, extent), slope)
        made = functional.conv1d(hidden, last.weight, last.bias, padding=last.padding)
        wave = sounded_spectrum(self.tables, _polar(made), frames)
        return wave.clamp(-vocoder.audio_limit, vocoder.audio_limit)

    def _excited(self, stage: int, spectrum: torch.Tensor, extent: Extent) -> torch.Tensor:
        """Return what the excitation adds to a stage."""
        down, block = self.vocoder.source_downs[stage], self.vocoder.source_resblocks[stage]
        below = _convolved(down, spectrum)
        value, active = self.operations.added(below, down.bias, extent, alpha=block.activations1[0].alpha)
        return self._residual(block, value, active, extent)

    def _raised(self, stage: int, hidden: torch.Tensor, excited: torch.Tensor, extent: Extent) -> torch.Tensor:
        """Return what a stage's residual blocks work on: what is there, upsampled, and what the excitation adds."""
        layer = self.vocoder.ups[stage]
        raised = _transposed(layer, hidden)
        if extent.extra:
            raised = torch.cat([raised[:, :, 1:2], raised], dim=2)
        return self.operations.added(raised, layer.bias, extent, base=excited)[0]

    def _branches(self, stage: int, hidden: torch.Tensor, extent: Extent) -> list[torch.Tensor]:
        """Return what each of a stage's residual blocks makes of the same input."""
        count = self.vocoder.num_kernels
        blocks = self.vocoder.resblocks[stage * count : (stage + 1) * count]
        snaked = self.operations.snaked
        return [self._residual(each, hidden, snaked(hidden, each.activations1[0].alpha), extent) for each in blocks]

    def _residual(self, block: Any, value: torch.Tensor, active: torch.Tensor, extent: Extent) -> torch.Tensor:
        """Return a residual block's output; `active` is its input through its first activation."""
        following = [*(activation.alpha for activation in block.activations1[1:]), None]
        for first, middle, second, alpha in zip(block.convs1, block.activations2, block.convs2, following, strict=True):
            between = self.operations.finished(_convolved(first, active), first.bias, extent, middle.alpha)
            convolved = _convolved(second, between)
            value, active = self.operations.added(convolved, second.bias, extent, base=value, alpha=alpha)
        return value


def _convolved(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """Return a convolution's output without its bias."""
    weight, taps = layer.weight, layer.kernel_size[0]
    stride, padding, dilation = (int(each[0]) for each in (layer.stride, layer.padding, layer.dilation))
    if len(weight) < _PRODUCT_CHANNELS or taps < _PRODUCT_TAPS:
        return functional.conv1d(values, weight, None, stride=stride, padding=padding, dilation=dilation)
    columns = functional.unfold(
        values[:, :, None], (1, taps), stride=(1, stride), padding=(0, padding), dilation=(1, dilation)
    )
    convolved: torch.Tensor = weight.flatten(1) @ columns
    return convolved


def _transposed(layer: Any, values: torch.Tensor) -> torch.Tensor:
    """Return a transposed convolution's output without its bias."""
    weight = layer.weight
    kernel, stride, padding = weight.shape[2], layer.stride[0], layer.padding[0]
    steps = stride * (values.shape[2] - 1) + kernel - 2 * padding
    columns = each_multiplied(weight.flatten(1).T, values)
    raised = functional.fold(columns, (1, steps), (1, kernel), padding=(0, padding), stride=(1, stride))
    return raised[:, :, 0]


def _polar(made: torch.Tensor) -> torch.Tensor:
    """Return the spectra (windows, 18, steps) of the logarithms of magnitudes, and what phases are the sine of."""
    magnitude, phase = made[:, :BINS].exp().clamp_max(_MAX_MAGNITUDE), made[:, BINS:].sin()
    return torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
