"""What waveforms and marks of several streams cost at once: a part of `sound_speed`."""

from functools import partial
from typing import Any, Final, Protocol

import torch

from benchmarks.cuda_graphs import CudaGraphs
from benchmarks.flow_networks import times_ms
from tts_service.speech.captured.graphs import EagerGraphs, Graphs
from tts_service.speech.captured.marks_stage import BATCH_WINDOWS, WIDE_WINDOWS, CapturedEncoder
from tts_service.speech.captured.marks_stream import CapturedMarks, next_of_all
from tts_service.speech.captured.vocoder_shapes import SHARED_SHAPES, WindowShape
from tts_service.speech.captured.vocoder_stage import CapturedVocoder, Sounding
from tts_service.speech.random_source import MEL_BANDS, CounterRandom
from tts_service.speech.waveform import WaveformState

STREAMS: Final = (1, 2, 4, 8)
CPU_SHARED: Final = (WindowShape(2, 96),)


class SoundLab(Protocol):
    """What the part is given."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        ...

    @property
    def network(self) -> Any:
        """The vocoder."""
        ...

    @property
    def encoder(self) -> Any:
        """The watermark's."""
        ...


def together(lab: SoundLab) -> dict[str, Any]:
    """Return the milliseconds of several windows at once, beside as many one after the other, and of their marks."""
    network, encoder, device = lab.network, lab.encoder, lab.device
    on_gpu, found = device.type == "cuda", dict[str, Any]()
    vocoder = CapturedVocoder(_graphs(device), shared=SHARED_SHAPES if on_gpu else CPU_SHARED)
    vocoder.capture(network)
    for frames in (30, 96, 150, 198) if on_gpu else (46,):
        for streams in STREAMS if on_gpu else STREAMS[:2]:
            pieces = [_piece(number, frames, device) for number in range(streams)]
            taken = _median(partial(vocoder.sound_all, network, pieces), device)
            peer = _median(partial(_in_turn, vocoder, network, pieces), device)
            found[f"sound, {streams} x {frames} frames"] = {"together": taken, "in turn": peer}
    for rows in (BATCH_WINDOWS, WIDE_WINDOWS):
        stage = CapturedEncoder(_graphs(device), wide=rows)
        stage.capture(encoder)
        for streams in STREAMS if on_gpu else STREAMS[:2]:
            taken = _median(partial(_marked, stage, encoder, streams, device), device)
            found[f"marks of 1 s, {streams} streams, up to {rows} rows"] = taken
    return found


def _piece(segment: int, frames: int, device: torch.device) -> Sounding:
    """Return a window of so many frames that begins and ends a segment."""
    mel = torch.randn(MEL_BANDS, frames, generator=torch.Generator().manual_seed(segment)).to(device)
    random = CounterRandom(seed=3, segment=segment, device=device)
    return Sounding(state=WaveformState(), mel=mel, random=random, ahead=mel[:, :0], final=True)


def _in_turn(vocoder: CapturedVocoder, network: Any, pieces: list[Sounding]) -> None:
    for each in pieces:
        vocoder.sound_all(network, [each])


def _marked(stage: CapturedEncoder, encoder: Any, streams: int, device: torch.device) -> None:
    speech = [CapturedMarks(stage) for _ in range(streams)]
    for each in speech:
        each.write(torch.zeros(24_000, device=device))
    next_of_all(encoder, speech)


def _median(work: Any, device: torch.device) -> float:
    taken = times_ms(work, device, repeats=21 if device.type == "cuda" else 1, warm_up=2)
    return round(taken[len(taken) // 2], 4)


def _graphs(device: torch.device) -> Graphs:
    return CudaGraphs(device) if device.type == "cuda" else EagerGraphs(device)
