"""The waveform of a segment on a GPU: one replay for each piece of mel.

Rules
* `CapturedVocoder.sound` is `waveform.sound`: same arguments, same state, same samples to rounding. A state may pass
  from either to the other.
* A window (what is decoded again, what is new, and what is shown ahead) takes the graph of the smallest bucket that
  holds it. What no bucket holds, random numbers that no key gives, and a network other than the captured one are left
  to `waveform.sound`.
* One call at a time: what goes in and comes out stands in the stage's buffers until it is copied.
"""

from dataclasses import replace
from functools import partial
from typing import Any, Final

import torch

from tts_service.speech import waveform
from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.captured.posting import post
from tts_service.speech.captured.source_excitation import Excitation, SourceWindow, plain_excitation
from tts_service.speech.captured.vocoder_layers import Decoder, predicted_f0
from tts_service.speech.captured.vocoder_operations import Extent, PlainVocoderOperations, VocoderOperations
from tts_service.speech.captured.vocoder_spectra import spectrum_tables
from tts_service.speech.random_source import MEL_BANDS, CounterRandom, RandomSource
from tts_service.speech.waveform import F0_REACH_FRAMES, FADE_SAMPLES, WaveformState, forgotten, sounding_end
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME

FRAME_BUCKETS: Final = (24, 48, 72, 96, 120, 152)
"""Windows of the usual schedule have 22, 46, 72, 90, 116 and 136 frames, and up to 148 at a segment's end."""


class CapturedVocoder:
    """`s3gen.vocoder`, captured. `fused` takes the Triton kernels; by default where there is a GPU."""

    def __init__(self, graphs: Graphs, *, buckets: tuple[int, ...] = FRAME_BUCKETS, fused: bool | None = None) -> None:
        self.buckets = tuple(sorted(buckets))
        self._graphs = graphs
        self._operations, self._excitation = _computed(fused=graphs.device.type == "cuda" if fused is None else fused)
        self._tables = spectrum_tables(graphs)
        self._fade = graphs.constant(
            torch.cat([waveform.faded_in(torch.ones(2 * FADE_SAMPLES), start_sample=0), torch.ones(1)])
        )
        most = self.buckets[-1]
        self._numbers = graphs.buffer(5, dtype=torch.int64)
        self._cycles = graphs.buffer(1, dtype=torch.float64)
        self._mel = graphs.buffer(MEL_BANDS, most, dtype=torch.float32)
        self._source = graphs.buffer(most * SAMPLES_PER_FRAME, dtype=torch.float32)
        self._wave = graphs.buffer(most * SAMPLES_PER_FRAME, dtype=torch.float32)
        self._ends = graphs.buffer(most, dtype=torch.float64)
        self._captured: dict[int, Work] = {}
        self._address = 0

    def capture(self, vocoder: Any) -> None:
        """Capture every bucket over a leased network; again, when its weights have gone to another address.

        Not while anything is served.
        """
        self._address = _address(vocoder)
        self._show(torch.zeros(MEL_BANDS, 0), torch.zeros(0), [1, 0, 0, 0, 0])
        self._cycles.zero_()
        # The largest first: smaller ones then find memory for their intermediates.
        for bucket in reversed(self.buckets):
            work = partial(self._work, vocoder, bucket)
            self._captured[bucket] = self._graphs.capture(f"vocoder of {bucket} frames", work)

    def captures(self, vocoder: Any) -> bool:
        """Tell whether this network is the captured one, with its weights where they were."""
        return self._address == _address(vocoder)

    def sound(
        self,
        vocoder: Any,
        state: WaveformState,
        mel: torch.Tensor,
        random: RandomSource,
        *,
        ahead: torch.Tensor,
        final: bool,
    ) -> tuple[WaveformState, torch.Tensor]:
        """Add frozen mel (80, any frames) to a segment; return the next state and the sound that is ready (samples,).

        See `waveform.sound`. Everything is queued on the current stream of the device.
        """
        frames = state.mel.shape[1] + mel.shape[1] + ahead.shape[1]
        bucket = next((each for each in self.buckets if frames <= each), None)
        if bucket is None or not isinstance(random, CounterRandom) or not self.captures(vocoder):
            return waveform.sound(vocoder, state, mel, random, ahead=ahead, final=final)
        assert not (final and ahead.shape[1])
        with torch.inference_mode():
            state = replace(state, mel=torch.cat([state.mel.to(mel.device), mel], dim=1))
            end = sounding_end(state, final=final)
            if end <= state.sounded_frames:
                return state, mel.new_zeros(0)
            self._replay(bucket, state, random, ahead)
            ready = self._span(self._wave, state, state.sounded_frames, end).clone()
            sure_end = state.start_frame + frames - (0 if final else F0_REACH_FRAMES)
            return forgotten(replace(self._with_source(state, sure_end), sounded_frames=end)), ready

    def _replay(self, bucket: int, state: WaveformState, random: CounterRandom, ahead: torch.Tensor) -> None:
        """Show a window to its graph, and run that."""
        seen = torch.cat([state.mel, ahead.to(state.mel.device)], dim=1) if ahead.shape[1] else state.mel
        fresh_from = state.source_end - state.start_frame
        if state.cycles.is_cuda:
            self._cycles.copy_(state.cycles.reshape(1))
        else:
            # A new state's is on the host, from where a copy would wait for the device.
            self._cycles.fill_(float(state.cycles))
        self._show(seen, state.source, [seen.shape[1], fresh_from, state.start_frame, *random.source_keys])
        self._captured[bucket]()

    def _show(self, mel: torch.Tensor, source: torch.Tensor, numbers: list[int]) -> None:
        self._mel[:, : mel.shape[1]].copy_(mel)
        self._source[: len(source)].copy_(source)
        post(torch.tensor(numbers, dtype=torch.int64), self._numbers)

    def _with_source(self, state: WaveformState, sure_end: int) -> WaveformState:
        """Return the state with the excitation up to the frame where f0 is sure."""
        if sure_end <= state.source_end:
            return state
        kept = self._span(self._source, state, state.start_frame, sure_end)
        return replace(state, source=kept, cycles=self._ends[sure_end - state.start_frame - 1].clone())

    def _span(self, samples: torch.Tensor, state: WaveformState, start: int, end: int) -> torch.Tensor:
        """Return the samples of these frames of the segment."""
        begin = state.start_frame
        return samples[(start - begin) * SAMPLES_PER_FRAME : (end - begin) * SAMPLES_PER_FRAME]

    def _work(self, vocoder: Any, bucket: int) -> None:
        """Make a window's excitation and waveform; the excitation that was there is kept."""
        samples = bucket * SAMPLES_PER_FRAME
        shown, fresh_from, start_frame, phase_key, noise_key = self._numbers.unbind()
        # Every place that is computed from a number is kept in bounds: a fault on the device would end the process.
        frames = shown.clamp(1, bucket)
        window = SourceWindow(
            frames=frames,
            fresh_from=fresh_from,
            start_frame=start_frame,
            phase_key=phase_key,
            noise_key=noise_key,
            cycles=self._cycles[0],
        )
        mel = torch.where(Extent(frames=frames).holds(bucket), self._mel[:, :bucket], 0.0)[None]
        made, ends = self._excitation(vocoder.m_source, predicted_f0(vocoder.f0_predictor, mel, frames), window)
        sample = torch.arange(samples, device=mel.device)
        kept = sample < fresh_from * SAMPLES_PER_FRAME
        self._source[:samples].copy_(torch.where(kept, self._source[:samples], made))
        self._ends[:bucket].copy_(ends)
        decoder = Decoder(vocoder=vocoder, operations=self._operations, tables=self._tables)
        wave = decoder.wave(mel, self._source[:samples], frames)
        faded = self._fade[(sample + start_frame * SAMPLES_PER_FRAME).clamp(0, 2 * FADE_SAMPLES)]
        self._wave[:samples].copy_(wave * faded)

    def __repr__(self) -> str:
        return f"<CapturedVocoder {len(self._captured)} of {len(self.buckets)} buckets | {self._operations!r}>"


def _computed(*, fused: bool) -> tuple[VocoderOperations, Excitation]:
    """Return how operations and excitation are computed."""
    if not fused:
        return PlainVocoderOperations(), plain_excitation
    # Triton is there with torch's CUDA build only.
    from tts_service.speech.captured.source_kernels import fused_excitation  # noqa: PLC0415  # See above.
    from tts_service.speech.captured.vocoder_kernels import FusedVocoderOperations  # noqa: PLC0415  # See above.

    return FusedVocoderOperations(), fused_excitation


def _address(vocoder: Any) -> int:
    """Return where a network's weights begin."""
    return int(next(vocoder.parameters()).data_ptr())
