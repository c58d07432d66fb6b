"""The waveform of one segment while its mel arrives.

Rules
* The vocoder reaches 13.1 frames to either side, its f0 predictor 5 more. So a frame becomes sound when 14 more are
  frozen (9 for the first chunk, so that speech begins sooner), 14 before it are decoded again, and no waveforms are
  crossfaded: chunks fit to the sample.
* Mel that is held back is shown to the vocoder as well: it differs a little from what will be frozen, but an end in the
  middle of speech differs more.
* The excitation is made once for each frame, when all the mel that its f0 depends on is there, be it frozen or held
  back; what lies beyond serves as context only, and is made again. If it waited for frozen mel, a voice that begins or
  ends in between would be seen one way by one chunk and another way by the next, 3 frames from the first seam: errors
  of 0.03 of the peak, where now 1.5e-4 was the most (8 frames in the first chunk: 9.4e-4).
* A segment, not a chunk, begins with upstream's fade: 20 ms of silence and 20 ms of rise.
* At the end everything comes out: 480 samples a frame.
* The state is a value. A step returns the next one, so that a step that fails can be made again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import torch

from tts_service.speech.mel import no_mel
from tts_service.speech.random_source import RandomSource
from tts_service.speech.waveform_source import (
    SAMPLES_PER_FRAME,
    Randomness,
    SourceModule,
    carried_source,
    harmonic_count,
)

LEFT_FRAMES: Final = 14
RIGHT_FRAMES: Final = 14
FIRST_RIGHT_FRAMES: Final = 9
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveformState:
    """A segment's sound on its way. Frames count from the segment's start.

    `mel` (80, frames) and `source` (samples,) both begin at `start_frame`; the source may end before the mel or after.
    `cycles` is the phase where the source ends, `sounded_frames` how many frames are out.
    """

    start_frame: int = 0
    sounded_frames: int = 0
    mel: torch.Tensor = field(default_factory=no_mel)
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
    vocoder: VocoderNetwork,
    state: WaveformState,
    mel: torch.Tensor,
    random: RandomSource,
    *,
    ahead: torch.Tensor,
    final: bool,
) -> tuple[WaveformState, torch.Tensor]:
    """Add frozen mel (80, any frames) to a segment; return the next state, and the sound that is ready (samples,).

    `ahead` (80, frames) is mel that is held back, as it looks now. `final` says that no mel follows; nothing is ahead
    then. Samples are float32 in [-0.99, 0.99] on the mel's device.
    """
    assert not (final and ahead.shape[1])
    with torch.inference_mode():
        state = replace(state, mel=torch.cat([state.mel.to(mel.device), mel], dim=1))
        end = sounding_end(state, final=final)
        if end <= state.sounded_frames:
            return state, mel.new_zeros(0)
        seen = torch.cat([state.mel, ahead.to(mel.device)], dim=1)
        seen_end = state.start_frame + seen.shape[1]
        sure_end = seen_end if final else seen_end - F0_REACH_FRAMES
        state, source = _with_source(vocoder, state, seen, random, sure_end=sure_end)
        skipped = state.sounded_frames - state.start_frame
        wave = vocode(vocoder, seen, source)[skipped * SAMPLES_PER_FRAME :]
        ready = wave[: (end - state.sounded_frames) * SAMPLES_PER_FRAME]
        ready = faded_in(ready, start_sample=state.sounded_frames * SAMPLES_PER_FRAME)
        return forgotten(replace(state, sounded_frames=end)), ready


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


def randomness(
    vocoder: VocoderNetwork, random: RandomSource, start_frame: int, frame_count: int, device: torch.device
) -> Randomness:
    """Return what is random in the excitation of these frames."""
    harmonics, start, count = (
        harmonic_count(vocoder.m_source),
        SAMPLES_PER_FRAME * start_frame,
        SAMPLES_PER_FRAME * frame_count,
    )
    noise = random.source_noise(start, count, harmonics)
    return Randomness(phases=random.source_phases(harmonics).to(device), noise=noise.to(device))


def sounding_end(state: WaveformState, *, final: bool) -> int:
    """Return the frame up to which there is enough mel to sound."""
    if final:
        return state.mel_end
    return state.mel_end - (RIGHT_FRAMES if state.sounded_frames else FIRST_RIGHT_FRAMES)


def _with_source(
    vocoder: VocoderNetwork, state: WaveformState, seen: torch.Tensor, random: RandomSource, *, sure_end: int
) -> tuple[WaveformState, torch.Tensor]:
    """Return the state with the excitation up to the frame where f0 is sure, and the excitation of all mel seen."""
    begin = state.source_end
    seen_from = max(state.start_frame, begin - F0_REACH_FRAMES)
    f0 = vocoder.f0_predictor(seen[None, :, seen_from - state.start_frame :])[0, begin - seen_from :]
    drawn = randomness(vocoder, random, begin, len(f0), f0.device)
    source, cycles = carried_source(vocoder.m_source, f0, state.cycles.to(f0.device), drawn)
    whole = torch.cat([state.source.to(f0.device), source])
    if sure_end <= begin:
        return state, whole
    kept = whole[: (sure_end - state.start_frame) * SAMPLES_PER_FRAME]
    return replace(state, source=kept, cycles=cycles[sure_end - begin - 1]), whole


def forgotten(state: WaveformState) -> WaveformState:
    """Return the state without what no later frame depends on."""
    surplus = max(0, state.sounded_frames - LEFT_FRAMES - state.start_frame)
    return replace(
        state,
        start_frame=state.start_frame + surplus,
        mel=state.mel[:, surplus:].clone(),
        source=state.source[surplus * SAMPLES_PER_FRAME :].clone(),
    )
