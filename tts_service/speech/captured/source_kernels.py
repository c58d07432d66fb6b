"""The excitation as one Triton kernel: a sample's nine harmonics and their noise never reach the memory."""

import math
from typing import Any, Final

import torch
import triton
import triton.language as tl

from tts_service.speech.captured.source_excitation import SourceWindow, frame_phases
from tts_service.speech.random_source import SIGNED_MIXERS
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME, harmonic_count

_BLOCK: Final = 128
"""Of fewer samples than usual: with twice as many the doubles of nine harmonics do not fit the registers."""


@triton.jit  # type: ignore[untyped-decorator]  # Triton's.
def _mixed(words: tl.tensor, mix_1: tl.constexpr, mix_2: tl.constexpr) -> tl.tensor:
    """Return SplitMix64's finaliser of int64 words; shifts bring in zeros."""
    words = (words ^ ((words >> 30) & 0x3FFFFFFFF)) * mix_1
    words = (words ^ ((words >> 27) & 0x1FFFFFFFFF)) * mix_2
    return words ^ ((words >> 31) & 0x1FFFFFFFF)


@triton.jit  # type: ignore[untyped-decorator]  # Triton's.
def _excited(  # noqa: PLR0917  # Triton passes arguments by place.
    f0: tl.tensor,
    each: tl.tensor,
    starts: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    frames: tl.tensor,
    fresh_from: tl.tensor,
    start_frame: tl.tensor,
    phase_key: tl.tensor,
    noise_key: tl.tensor,
    out: tl.tensor,
    total: tl.tensor,
    amplitude: tl.tensor,
    deviation: tl.tensor,
    threshold: tl.tensor,
    harmonics: tl.constexpr,
    samples: tl.constexpr,
    golden: tl.constexpr,
    mix_1: tl.constexpr,
    mix_2: tl.constexpr,
    pi: tl.constexpr,
    block: tl.constexpr,
) -> None:
    """Write the excitation of a block of one window's samples."""
    window, held = tl.program_id(1), total // samples
    f0, each, starts, out = f0 + window * held, each + window * held, starts + window * held, out + window * total
    place = tl.program_id(0) * block + tl.arange(0, block)
    inside = place < total
    frame = place // samples
    fresh = inside & (frame >= tl.load(fresh_from + window)) & (frame < tl.load(frames + window))
    step = (place - frame * samples + 1).to(tl.float64)
    fundamental = tl.load(starts + frame, mask=inside, other=0.0) + tl.load(each + frame, mask=inside, other=0.0) * step
    voiced = tl.load(f0 + frame, mask=fresh, other=0.0) > threshold
    noisy = tl.where(voiced, deviation, amplitude / 3.0)
    position = tl.load(start_frame + window) * samples + place.to(tl.int64)
    first_key, key = tl.load(phase_key + window), tl.load(noise_key + window)
    total_value = tl.zeros([block], tl.float32) + tl.load(bias)
    for harmonic in tl.static_range(harmonics):
        turns = fundamental * (harmonic + 1)
        turns = (turns - tl.floor(turns)).to(tl.float32)
        lane = tl.zeros([], tl.int64) + harmonic
        drawn = _mixed(first_key + lane * golden, mix_1, mix_2)
        uniform = (((drawn >> 12) & 0xFFFFFFFFFFFFF).to(tl.float64) + 0.5) * 2.220446049250313e-16
        phase = ((2.0 * uniform - 1.0) * pi).to(tl.float32)
        phase = tl.where(harmonic == 0, 0.0, phase)
        sine = amplitude * tl.sin(turns * (2.0 * pi) + phase)
        word = _mixed((position * harmonics + lane) * golden + key, mix_1, mix_2)
        radius = (((word >> 32) & 0xFFFFFFFF).to(tl.float64) + 0.5) * 2.3283064365386963e-10
        angle = (word & 0xFFFFFFFF).to(tl.float64) * (2.0 * pi * 2.3283064365386963e-10)
        normal = (tl.sqrt(-2.0 * tl.log(radius)) * tl.cos(angle)).to(tl.float32)
        value = tl.where(voiced, sine, 0.0) + noisy * normal
        total_value += value * tl.load(weight + harmonic)
    doubled = tl.exp(-2.0 * tl.abs(total_value))
    curved = (1.0 - doubled) / (1.0 + doubled)
    tl.store(out + place, tl.where(total_value < 0, -curved, curved), mask=inside)


def fused_excitation(module: Any, f0: torch.Tensor, window: SourceWindow) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute it in one kernel after the phases of frames."""
    each, starts, ends = frame_phases(f0, window)
    windows, samples = len(f0), SAMPLES_PER_FRAME * f0.shape[1]
    out = f0.new_empty(windows, samples)
    numbers_of = (window.frames, window.fresh_from, window.start_frame, window.phase_key, window.noise_key)
    assert all(values.is_contiguous() for values in (f0, each, starts, *numbers_of))
    numbers = module.l_sin_gen
    kernel: Any = _excited
    golden, mix_1, mix_2 = SIGNED_MIXERS
    kernel[(triton.cdiv(samples, _BLOCK), windows)](
        f0,
        each,
        starts,
        module.l_linear.weight,
        module.l_linear.bias,
        *numbers_of,
        out,
        samples,
        numbers.sine_amp,
        numbers.noise_std,
        numbers.voiced_threshold,
        harmonics=harmonic_count(module),
        samples=SAMPLES_PER_FRAME,
        golden=golden,
        mix_1=mix_1,
        mix_2=mix_2,
        pi=math.pi,
        block=_BLOCK,
    )
    return out, ends.remainder(1.0)
