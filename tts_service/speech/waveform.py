"""The waveform of one segment while its mel arrives.

Rules
* The vocoder reaches 13.1 frames to either side, its f0 predictor 5 more. So a frame becomes sound when 14 more are
  there (8 for the first chunk, so that speech begins sooner), 14 before it are decoded again, and no waveforms are
  crossfaded: chunks fit to the sample.
* The excitation is made once for each frame, when the mel that its f0 depends on is there. What lies beyond serves as
  the vocoder's context only, and is made again.
* A segment, not a chunk, begins with upstream's fade: 20 ms of silence and 20 ms of rise.
* At the end everything comes out: 480 samples a frame.
* The state is a value. A step returns the next one, so that a step that fails can be made again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import torch

from tts_service.speech.mel import MEL_BANDS
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME, Randomness, SourceModule, carried_source

LEFT_FRAMES: Final = 14
RIGHT_FRAMES: Final = 14
FIRST_RIGHT_FRAMES: Final = 8
"""Context of the vocoder."""

F0_REACH_FRAMES: Final = 5
"""Five convolutions of three frames."""

FADE_SAMPLES: Final = 480
"""20 ms of silence, then as long a rise (upstream's `trim_fade`)."""


class VocoderNetwork(Protocol):
    """`s3gen.vocoder` under a lease; upstream's `HiFTGenerator`."""

    m_source: SourceModule
    f0_predictor: Callable[[torch.Tensor], torch.Tensor]

    def decode(self, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """Return the waveform (1, samples) of mel (1, 80, frames) and excitation (1, 1, samples)."""
        ...


class SourceNoise(Protocol):
    """Where a segment's excitation gets its randomness."""

    def source_phases(self, harmonic_count: int) -> torch.Tensor:
        """Return the harmonics' phases (harmonics,), uniform in [-pi, pi); the fundamental's is 0."""
        ...

    def source_noise(self, start_sample: int, sample_count: int, harmonic_count: int) -> torch.Tensor:
        """Return standard normal noise (harmonics, samples) from this absolute sample on, the same for a sample."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformState:
    """A segment's sound on its way. Frames count from the segment's start.

    `mel` (80, frames) and `source` (samples,) both begin at `start_frame`; the source may end before the mel does.
    `cycles` is the phase where the source ends, `sounded_frames` how many frames are out.
    """

    start_frame: int = 0
    sounded_frames: int = 0
    mel: torch.Tensor = field(default_factory=lambda: torch.zeros(MEL_BANDS, 0))
    source: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    cycles: torch.Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    @property
    def mel_end(self) -> int:
        """The frame where the mel ends."""
        return self.start_frame + self.mel.shape[1]

    @property
    def source_end(self) -> int:
        """The frame where the source ends."""
        return self.start_frame + len(self.source) // SAMPLES_PER_FRAME

    def __repr__(self) -> str:
        return f"<WaveformState {self.sounded_frames} of {self.mel_end} frames sounded>"


def sound(
    vocoder: VocoderNetwork, state: WaveformState, mel: torch.Tensor, noise: SourceNoise, *, final: bool
) -> tuple[WaveformState, torch.Tensor]:
    """Add mel (80, 0 or more frames) to a segment; return the next state, and the sound that is ready (samples,).

    `final` says that no mel follows. Samples are float32 in [-0.99, 0.99] on the mel's device.
    """
    with torch.inference_mode():
        state = replace(state, mel=torch.cat([state.mel.to(mel.device), mel], dim=1))
        end = _sounding_end(state, final=final)
        if end <= state.sounded_frames:
            return state, mel.new_zeros(0)
        state, source = _with_source(vocoder, state, noise, final=final)
        wave = vocode(vocoder, state.mel, source)
        skipped = state.sounded_frames - state.start_frame
        ready = wave[skipped * SAMPLES_PER_FRAME : (end - state.start_frame) * SAMPLES_PER_FRAME]
        ready = faded_in(ready, start_sample=state.sounded_frames * SAMPLES_PER_FRAME)
        return _forgotten(replace(state, sounded_frames=end)), ready


def vocode(vocoder: VocoderNetwork, mel: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """Return the waveform (480 samples a frame,) of mel (80, frames) with this excitation (samples,)."""
    return vocoder.decode(x=mel[None], s=source[None, None])[0]


def faded_in(wave: torch.Tensor, *, start_sample: int) -> torch.Tensor:
    """Return a piece of a segment's waveform, which begins at this sample, with what belongs to the fade faded."""
    if start_sample >= 2 * FADE_SAMPLES or not len(wave):
        return wave
    rise = (torch.cos(torch.linspace(torch.pi, 0, FADE_SAMPLES, device=wave.device)) + 1) / 2
    fade = torch.cat([torch.zeros_like(rise), rise])[start_sample : start_sample + len(wave)]
    return torch.cat([wave[: len(fade)] * fade, wave[len(fade) :]])


def _sounding_end(state: WaveformState, *, final: bool) -> int:
    """Return the frame up to which there is enough mel to sound."""
    if final:
        return state.mel_end
    return state.mel_end - (RIGHT_FRAMES if state.sounded_frames else FIRST_RIGHT_FRAMES)


def _with_source(
    vocoder: VocoderNetwork, state: WaveformState, noise: SourceNoise, *, final: bool
) -> tuple[WaveformState, torch.Tensor]:
    """Return the state with the excitation of all frames whose f0 is sure, and that of all its frames."""
    begin = state.source_end
    seen_from = max(state.start_frame, begin - F0_REACH_FRAMES)
    f0 = vocoder.f0_predictor(state.mel[None, :, seen_from - state.start_frame :])[0, begin - seen_from :]
    source, cycles = carried_source(
        vocoder.m_source, f0, state.cycles.to(f0.device), _randomness(vocoder, noise, begin, len(f0), f0.device)
    )
    whole = torch.cat([state.source.to(f0.device), source])
    sure = len(f0) if final else len(f0) - F0_REACH_FRAMES
    assert sure > 0
    kept = whole[: (begin + sure - state.start_frame) * SAMPLES_PER_FRAME]
    return replace(state, source=kept, cycles=cycles[sure - 1]), whole


def _randomness(
    vocoder: VocoderNetwork, noise: SourceNoise, start_frame: int, frame_count: int, device: torch.device
) -> Randomness:
    count = vocoder.m_source.l_sin_gen.harmonic_num + 1
    drawn = noise.source_noise(start_frame * SAMPLES_PER_FRAME, frame_count * SAMPLES_PER_FRAME, count)
    return Randomness(phases=noise.source_phases(count).to(device), noise=drawn.to(device))


def _forgotten(state: WaveformState) -> WaveformState:
    """Return the state without what no later frame depends on."""
    surplus = max(0, state.sounded_frames - LEFT_FRAMES - state.start_frame)
    return replace(
        state,
        start_frame=state.start_frame + surplus,
        mel=state.mel[:, surplus:].clone(),
        source=state.source[surplus * SAMPLES_PER_FRAME :].clone(),
    )
