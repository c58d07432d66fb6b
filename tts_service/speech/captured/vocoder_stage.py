"""The waveform of segments on a GPU: one replay for each piece of mel, or for those of several segments.

Rules
* `CapturedVocoder.sound` is `waveform.sound`: same arguments, same state, same samples to rounding. A state may pass
  from either to the other. `sound_all` is the same for pieces of several segments, in any company; one that is `alone`
  has a replay for itself, and so the same bits every time.
* A window (what is decoded again, what is new, and what is shown ahead) takes the graph of the smallest shape that
  holds it. What none holds, random numbers that no key gives, and a network other than the captured one are left
  to `waveform.sound`.
* One call at a time: what goes in and comes out stands in the stage's buffers until it is copied. Rows that nobody
  fills hold anything; no row sees another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch

from tts_service.speech import waveform
from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.captured.posting import post
from tts_service.speech.captured.source_excitation import Excitation, SourceWindow, plain_excitation
from tts_service.speech.captured.vocoder_layers import Decoder, predicted_f0
from tts_service.speech.captured.vocoder_operations import Extent, PlainVocoderOperations, VocoderOperations
from tts_service.speech.captured.vocoder_shapes import FRAME_BUCKETS, VocoderShapes, WindowShape
from tts_service.speech.captured.vocoder_spectra import spectrum_tables
from tts_service.speech.random_source import MEL_BANDS, CounterRandom, RandomSource
from tts_service.speech.waveform import F0_REACH_FRAMES, FADE_SAMPLES, WaveformState, forgotten, sounding_end
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME

NUMBERS: Final = 5
"""Of a window: its frames, from which on they are new, the segment's frame where it begins, and two keys."""

IDLE: Final = (1, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sounding:
    """A piece of a segment's mel that is to become sound, as `waveform.sound` is given it."""

    state: WaveformState
    mel: torch.Tensor
    random: RandomSource
    ahead: torch.Tensor
    final: bool
    alone: bool = False


Sounded = tuple[WaveformState, torch.Tensor]
"""The next state, and the sound that is ready (samples,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A piece that has sound to give: its state with the mel in it, all mel that is seen, and where its sound ends."""

    state: WaveformState
    seen: torch.Tensor
    random: CounterRandom
    end: int
    sure_end: int
    alone: bool


class CapturedVocoder:
    """`s3gen.vocoder`, captured. `fused` takes the Triton kernels; by default where there is a GPU."""

    def __init__(
        self,
        graphs: Graphs,
        *,
        buckets: tuple[int, ...] = FRAME_BUCKETS,
        shared: tuple[WindowShape, ...] = (),
        fused: bool | None = None,
    ) -> None:
        self.buckets = tuple(sorted(buckets))
        self._shapes = VocoderShapes(lone=self.buckets, shared=shared)
        self._graphs = graphs
        self._operations, self._excitation = _computed(fused=graphs.device.type == "cuda" if fused is None else fused)
        self._tables = spectrum_tables(graphs)
        self._fade = graphs.constant(
            torch.cat([waveform.faded_in(torch.ones(2 * FADE_SAMPLES), start_sample=0), torch.ones(1)])
        )
        shapes = self._shapes.all()
        most, windows = max(each.windows * each.frames for each in shapes), max(each.windows for each in shapes)
        self._numbers = graphs.buffer(NUMBERS * windows, dtype=torch.int64)
        self._cycles = graphs.buffer(windows, dtype=torch.float64)
        self._mel = graphs.buffer(MEL_BANDS * most, dtype=torch.float32)
        self._source = graphs.buffer(most * SAMPLES_PER_FRAME, dtype=torch.float32)
        self._wave = graphs.buffer(most * SAMPLES_PER_FRAME, dtype=torch.float32)
        self._ends = graphs.buffer(most, dtype=torch.float64)
        self._captured: dict[WindowShape, Work] = {}
        self._address = 0

    def capture(self, vocoder: Any) -> None:
        """Capture every shape over a leased network; again, when its weights have gone to another address.

        Not while anything is served.
        """
        for shape in self._shapes.all():
            self.capture_shape(shape, vocoder)

    def capture_shape(self, shape: WindowShape, vocoder: Any) -> None:
        """Capture one of the shapes, as `capture` does all, which it tells the order of."""
        self._address = _address(vocoder)
        for each in (self._mel, self._source, self._cycles):
            each.zero_()
        self._show(shape, [])
        work = partial(self._work, vocoder, shape)
        self._captured[shape] = self._graphs.capture(f"vocoder of {shape.windows} x {shape.frames} frames", work)

    def rehearse(self, vocoder: Any) -> None:
        """Make an excitation of the smallest of several windows: what is compiled for it is so afterwards."""
        shape = min((each for each in self._shapes.all() if each.windows > 1), key=lambda each: each.windows)
        with torch.inference_mode():
            self._cycles.zero_()
            self._show(shape, [])
            f0 = torch.zeros(shape.windows, shape.frames, device=self._graphs.device)
            self._excitation(vocoder.m_source, f0, self._window(shape))

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
    ) -> Sounded:
        """Add frozen mel (80, any frames) to a segment; return the next state and the sound that is ready (samples,).

        See `waveform.sound`. Everything is queued on the current stream of the device.
        """
        piece = Sounding(state=state, mel=mel, random=random, ahead=ahead, final=final)
        return self.sound_all(vocoder, [piece])[0]

    def sound_all(self, vocoder: Any, pieces: Sequence[Sounding]) -> list[Sounded]:
        """Return what `sound` makes of pieces of several segments, in their order."""
        made = dict[int, Sounded]()
        windows = dict[int, _Window]()
        with torch.inference_mode():
            for number, piece in enumerate(pieces):
                prepared = self._prepared(vocoder, piece)
                if isinstance(prepared, _Window):
                    windows[number] = prepared
                else:
                    made[number] = prepared
            for shape, numbers in self._batches(windows):
                together = [windows[number] for number in numbers]
                self._show(shape, together)
                self._captured[shape]()
                made |= {
                    number: self._sounded(shape, row, window)
                    for row, (number, window) in enumerate(zip(numbers, together, strict=True))
                }
        return [made[number] for number in range(len(pieces))]

    def _prepared(self, vocoder: Any, piece: Sounding) -> _Window | Sounded:
        """Return a piece's window; its sound, where there is none or no graph for it."""
        state, mel, ahead, random = piece.state, piece.mel, piece.ahead, piece.random
        assert not (piece.final and ahead.shape[1])
        frames = state.mel.shape[1] + mel.shape[1] + ahead.shape[1]
        if not isinstance(random, CounterRandom) or not self._shapes.lone_shape(frames) or not self.captures(vocoder):
            return waveform.sound(vocoder, state, mel, random, ahead=ahead, final=piece.final)
        state = replace(state, mel=torch.cat([state.mel.to(mel.device), mel], dim=1))
        end = sounding_end(state, final=piece.final)
        if end <= state.sounded_frames:
            return state, mel.new_zeros(0)
        seen = torch.cat([state.mel, ahead.to(state.mel.device)], dim=1) if ahead.shape[1] else state.mel
        sure_end = state.start_frame + frames - (0 if piece.final else F0_REACH_FRAMES)
        return _Window(state=state, seen=seen, random=random, end=end, sure_end=sure_end, alone=piece.alone)

    def _batches(self, windows: dict[int, _Window]) -> list[tuple[WindowShape, list[int]]]:
        """Return which windows are replayed together, and in which shape."""
        batches = list[tuple[WindowShape, list[int]]]()
        for number in (each for each, window in windows.items() if window.alone):
            [(shape, _)] = self._shapes.batches([windows[number].seen.shape[1]])
            batches.append((shape, [number]))
        others = [each for each, window in windows.items() if not window.alone]
        together = self._shapes.batches([windows[each].seen.shape[1] for each in others])
        return batches + [(shape, [others[place] for place in places]) for shape, places in together]

    def _show(self, shape: WindowShape, windows: Sequence[_Window]) -> None:
        """Put windows where their graph reads them."""
        mel, source = self._mel_of(shape), self._samples_of(self._source, shape)
        numbers = [IDLE] * shape.windows
        for row, window in enumerate(windows):
            state, frames = window.state, window.seen.shape[1]
            if state.cycles.is_cuda:
                self._cycles[row].copy_(state.cycles)
            else:
                # A new state's is on the host, from where a copy would wait for the device.
                self._cycles[row].fill_(float(state.cycles))
            mel[row, :, :frames].copy_(window.seen)
            source[row, : len(state.source)].copy_(state.source)
            fresh_from = state.source_end - state.start_frame
            numbers[row] = (frames, fresh_from, state.start_frame, *window.random.source_keys)
        post(torch.tensor(numbers, dtype=torch.int64).T.contiguous(), self._numbers_of(shape))

    def _sounded(self, shape: WindowShape, row: int, window: _Window) -> Sounded:
        """Return the next state and the sound of a window that was replayed in a row of its shape."""
        state, end = window.state, window.end
        source, wave = (self._samples_of(each, shape)[row] for each in (self._source, self._wave))
        ready = _span(wave, state, state.sounded_frames, end).clone()
        if window.sure_end > state.source_end:
            cycles = self._ends_of(shape)[row, window.sure_end - state.start_frame - 1].clone()
            kept = _span(source, state, state.start_frame, window.sure_end)
            state = replace(state, source=kept, cycles=cycles)
        return forgotten(replace(state, sounded_frames=end)), ready

    def _work(self, vocoder: Any, shape: WindowShape) -> None:
        """Make windows' excitations and waveforms; the excitation that was there is kept."""
        bucket, mels, sources = shape.frames, self._mel_of(shape), self._samples_of(self._source, shape)
        window = self._window(shape)
        frames, fresh_from, start_frame = window.frames, window.fresh_from, window.start_frame
        mel = torch.where(Extent(frames=frames).holds(bucket), mels, 0.0)
        made, ends = self._excitation(vocoder.m_source, predicted_f0(vocoder.f0_predictor, mel, frames), window)
        sample = torch.arange(bucket * SAMPLES_PER_FRAME, device=mel.device)
        kept = sample < (fresh_from * SAMPLES_PER_FRAME)[:, None]
        sources.copy_(torch.where(kept, sources, made))
        self._ends_of(shape).copy_(ends)
        decoder = Decoder(vocoder=vocoder, operations=self._operations, tables=self._tables)
        wave = decoder.wave(mel, sources, frames)
        faded = self._fade[(sample + (start_frame * SAMPLES_PER_FRAME)[:, None]).clamp(0, 2 * FADE_SAMPLES)]
        self._samples_of(self._wave, shape).copy_(wave * faded)

    def _window(self, shape: WindowShape) -> SourceWindow:
        """Return what the excitation of what is shown is made from."""
        shown, fresh_from, start_frame, phase_key, noise_key = self._numbers_of(shape).unbind()
        # Every place that is computed from a number is kept in bounds: a fault on the device would end the process.
        return SourceWindow(
            frames=shown.clamp(1, shape.frames),
            fresh_from=fresh_from,
            start_frame=start_frame,
            phase_key=phase_key,
            noise_key=noise_key,
            cycles=self._cycles[: shape.windows],
        )

    def _numbers_of(self, shape: WindowShape) -> torch.Tensor:
        return self._numbers[: NUMBERS * shape.windows].view(NUMBERS, shape.windows)

    def _mel_of(self, shape: WindowShape) -> torch.Tensor:
        return self._mel[: shape.windows * MEL_BANDS * shape.frames].view(shape.windows, MEL_BANDS, shape.frames)

    def _ends_of(self, shape: WindowShape) -> torch.Tensor:
        return self._ends[: shape.windows * shape.frames].view(shape.windows, shape.frames)

    def _samples_of(self, samples: torch.Tensor, shape: WindowShape) -> torch.Tensor:
        """Return the excitations or waveforms (windows, 480 frames) of a shape."""
        return samples[: shape.windows * shape.frames * SAMPLES_PER_FRAME].view(shape.windows, -1)

    def __repr__(self) -> str:
        return f"<CapturedVocoder {len(self._captured)} of {len(self._shapes.all())} buckets | {self._operations!r}>"


def _span(samples: torch.Tensor, state: WaveformState, start: int, end: int) -> torch.Tensor:
    """Return the samples of these frames of the segment."""
    begin = state.start_frame
    return samples[(start - begin) * SAMPLES_PER_FRAME : (end - begin) * SAMPLES_PER_FRAME]


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
