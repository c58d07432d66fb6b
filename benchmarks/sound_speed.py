"""Measures the captured vocoder and watermark beside the eager ones and upstream's: how equal, and how fast.

    python -m benchmarks.sound_speed                             on a GPU, at full size
    python -m benchmarks.sound_speed --device cpu --size tiny    the same way, only to see that it runs

Weights are random, planted so that waveforms are half of full scale. A part that fails prints why, and the next begins.
"""

import argparse
import json
import platform
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.cuda_graphs import CudaGraphs
from benchmarks.sound_together import together
from tests.fakes.tiny_s3gen import plant_vocoder, randomised
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import MEL_BANDS, build_vocoder
from tts_service.models.perth import PerthDetector, PerthEncoder, detector_state, encoder_state, upstream_state_dict
from tts_service.speech.captured.graphs import EagerGraphs, Graphs
from tts_service.speech.captured.marks_stage import BATCH_WINDOWS, SPAN_SAMPLES, CapturedEncoder, MarkWindow
from tts_service.speech.captured.marks_stream import CapturedMarks
from tts_service.speech.captured.marks_windows import WINDOW_SAMPLES
from tts_service.speech.captured.vocoder_shapes import FRAME_BUCKETS, WindowShape
from tts_service.speech.captured.vocoder_stage import CapturedVocoder
from tts_service.speech.leading_silence import LeadingSilence
from tts_service.speech.random_source import CounterRandom
from tts_service.speech.waveform import WaveformState, sound
from tts_service.types import Waveform

SPANS: Final = (0, 14, 38, 74, 128, 208, 308, 408, 430)
"""Where the usual schedule cuts a segment of 430 frames."""

AHEAD_FRAMES: Final = 8
WARM: Final = 3
"""Calls before the first that counts."""

Figures = dict[str, Any]  # By name, with their units in it.


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """What every part is given: networks, and the stages over them, of vocoders the one to be used first."""

    device: torch.device
    repeats: int
    network: Any
    encoder: Any
    vocoders: dict[str, CapturedVocoder]
    marker: CapturedEncoder

    @property
    def vocoder(self) -> CapturedVocoder:
        """The one to be used."""
        return next(iter(self.vocoders.values()))

    def mel(self, frames: int, seed: int = 1) -> torch.Tensor:
        """Return any mel (80, frames)."""
        return torch.randn(MEL_BANDS, frames, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def random(self, segment: int = 0) -> CounterRandom:
        """Return a segment's random numbers."""
        return CounterRandom(seed=3, segment=segment, device=self.device)


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=[each.value for each in NetworkSize], default=NetworkSize.FULL.value)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    parser.add_argument("--out", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    device = torch.device(options.device)
    kept: Figures = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "command": f"python -m benchmarks.sound_speed --device {device.type} --size {options.size}",
    }
    lab, kept["captured"] = _lab(device, NetworkSize(options.size))
    for name in options.only.split(","):
        kept[name] = _alone(name, partial(PARTS[name], lab))
    if options.out is not None:
        options.out.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _alone(name: str, part: Callable[[], Figures]) -> Figures | None:
    """Return a part's figures, printed; None if it fails."""
    print(f"\n== {name}")
    try:
        with torch.inference_mode():
            found = part()
    except Exception:  # noqa: BLE001  # A part's failure is its result.
        print(traceback.format_exc())
        return None
    for key, value in found.items():
        print(f"  {key:24} {value}")
    return found


def _lab(device: torch.device, size: NetworkSize) -> tuple[Lab, Figures]:
    """Return networks with what is captured over them, and what capturing takes."""
    generator = torch.Generator().manual_seed(7)
    network = randomised(build_vocoder(size), generator).to(device)
    plant_vocoder(network, torch.randn(MEL_BANDS, 400, generator=generator).to(device))
    encoder = PerthEncoder.from_state_dict(encoder_state(upstream_state_dict())).to(device)
    ways = {"kernels": True, "torch": False} if device.type == "cuda" else {"torch": False}
    vocoders = {name: CapturedVocoder(_graphs(device), fused=fused) for name, fused in ways.items()}
    marker = CapturedEncoder(_graphs(device))
    taken = {name: _alone(name, partial(_captured, stage, network, device)) for name, stage in vocoders.items()}
    taken["watermark"] = _alone("watermark", partial(_captured, marker, encoder, device))
    lab = Lab(
        device=device,
        repeats=50 if device.type == "cuda" else 1,
        network=network,
        encoder=encoder,
        vocoders={name: stage for name, stage in vocoders.items() if taken[name]},
        marker=marker,
    )
    return lab, taken


def _graphs(device: torch.device) -> Graphs:
    return CudaGraphs(device) if device.type == "cuda" else EagerGraphs(device)


def _captured(stage: CapturedVocoder | CapturedEncoder, module: Any, device: torch.device) -> Figures:
    """Capture a stage; return how long that takes, and what memory torch keeps for it."""
    before, start = _reserved_bytes(device), time.perf_counter()
    stage.capture(module)
    _wait(device)
    return {"seconds": time.perf_counter() - start, "reserved_mib": (_reserved_bytes(device) - before) / 2**20}


def _reserved_bytes(device: torch.device) -> int:
    return torch.cuda.memory_reserved(device) if device.type == "cuda" else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def milliseconds(lab: Lab, work: Callable[[], object]) -> tuple[float, float]:
    """Return median and p99 of the time from the call until the device has done it."""
    taken = []
    for _ in range(WARM + lab.repeats):
        _wait(lab.device)
        start = time.perf_counter()
        work()
        _wait(lab.device)
        taken.append(1e3 * (time.perf_counter() - start))
    return float(np.median(taken[WARM:])), float(np.quantile(taken[WARM:], 0.99))


def _whole(lab: Lab, how: Any, mel: torch.Tensor, segment: int = 1) -> torch.Tensor:
    """Return the waveform of one window that begins and ends a segment."""
    random, nothing = lab.random(segment), mel[:, :0]
    wave: torch.Tensor = how(lab.network, WaveformState(), mel, random, ahead=nothing, final=True)[1]
    return wave


def _in_chunks(lab: Lab, how: Any, mel: torch.Tensor) -> torch.Tensor:
    """Return a segment's waveform, made in the usual chunks."""
    state, pieces = WaveformState(), []
    for begin, end in pairwise(SPANS):
        final = end == SPANS[-1]
        ahead = mel[:, end : end if final else end + AHEAD_FRAMES]
        state, wave = how(lab.network, state, mel[:, begin:end], lab.random(), ahead=ahead, final=final)
        pieces.append(wave)
    return torch.cat(pieces)


def equal(lab: Lab) -> Figures:
    """Return the largest difference from the eager stage, as a share of the peak: in chunks, and at buckets' ends."""

    def apart(sounded: Any, mel: torch.Tensor, stage: CapturedVocoder) -> float:
        ours, theirs = (sounded(lab, how, mel) for how in (stage.sound, sound))
        return float((ours - theirs).abs().max() / theirs.abs().max())

    found: Figures = {}
    for name, stage in lab.vocoders.items():
        found[f"{name}, segment"] = apart(_in_chunks, lab.mel(SPANS[-1]), stage)
        for frames in FRAME_BUCKETS:
            found[f"{name}, {frames} frames"] = max(
                apart(_whole, lab.mel(each), stage) for each in (frames - 1, frames)
            )
    return found


def bits(lab: Lab) -> Figures:
    """Count what has other bits: a segment again, with other work in between; a window in each row of a batch."""
    mel, different = lab.mel(SPANS[-1]), 0
    first = _in_chunks(lab, lab.vocoder.sound, mel)
    for _ in range(max(1, lab.repeats // 2)):
        _whole(lab, lab.vocoder.sound, lab.mel(40, seed=9))
        different += not torch.equal(first, _in_chunks(lab, lab.vocoder.sound, mel))
    audio = 0.3 * torch.randn(SPAN_SAMPLES, device=lab.device)
    window = MarkWindow(start=0, sample_count=WINDOW_SAMPLES, block_offset=4800)
    alone = lab.marker.mark(lab.encoder, audio, [window])
    many = lab.marker.mark(lab.encoder, audio, [window] * BATCH_WINDOWS)
    return {"segments_that_differ": different, "rows_that_differ": int((many != alone).any(dim=1).sum())}


def times(lab: Lab) -> Figures:
    """Return a window's milliseconds: the replay of each way, `sound` with its p99, the eager one's, upstream's."""
    found: Figures = {}
    for frames in FRAME_BUCKETS:
        mel = lab.mel(frames)
        ways, shape = lab.vocoders.items(), WindowShape(1, frames)
        row = {name: milliseconds(lab, each._captured[shape])[0] for name, each in ways}  # noqa: SLF001  # What is measured.
        row["sound"], row["sound_p99"] = milliseconds(lab, partial(_whole, lab, lab.vocoder.sound, mel))
        row["eager"] = milliseconds(lab, partial(_whole, lab, sound, mel))[0]
        row["upstream"] = milliseconds(lab, partial(lab.network.inference, speech_feat=mel[None]))[0]
        found[f"{frames} frames"] = {name: round(value, 4) for name, value in row.items()}
    return found


def marks(lab: Lab) -> Figures:
    """Return a batch's milliseconds beside Perth's for one window, and how well marks are detected."""
    speech = _whole(lab, sound, lab.mel(400))
    windows = [
        MarkWindow(start=3840 * row, sample_count=WINDOW_SAMPLES, block_offset=4800) for row in range(BATCH_WINDOWS)
    ]
    host = PerthEncoder.from_state_dict(encoder_state(upstream_state_dict()))
    whole = speech.cpu().numpy()
    ours = _marked(lab.marker, lab.encoder, speech)
    here = _marked(CapturedEncoder(EagerGraphs(torch.device("cpu"))), host, speech.cpu())
    score = PerthDetector.from_state_dict(detector_state(upstream_state_dict())).score
    batch = partial(lab.marker.mark, lab.encoder, speech[:SPAN_SAMPLES], windows)
    return {
        "batch_milliseconds": milliseconds(lab, batch)[0],
        "perth_window_milliseconds": milliseconds(lab, partial(host.mark, whole[:WINDOW_SAMPLES]))[0],
        "difference_from_cpu": float(np.abs(ours - here).max()),
        "score": score(ours),
        "score_of_perths_own": score(host.mark(whole)),
        "score_unmarked": score(whole),
    }


def _marked(stage: CapturedEncoder, encoder: Any, wave: torch.Tensor) -> Waveform:
    stream = CapturedMarks(stage)
    stream.write(wave)
    stream.finish()
    marked = stream.next_blocks(encoder)
    assert marked is not None
    return marked


def chain(lab: Lab) -> Figures:
    """Return the milliseconds from mel to marked samples on the host, with p99: a first chunk, and a usual one."""

    def spoken(mel: torch.Tensor) -> object:
        stream, new = CapturedMarks(lab.marker), mel.shape[1] - AHEAD_FRAMES
        _, wave = lab.vocoder.sound(
            lab.network, WaveformState(), mel[:, :new], lab.random(), ahead=mel[:, new:], final=False
        )
        heard = LeadingSilence().trimmed(wave)
        assert isinstance(heard, torch.Tensor)
        stream.write(heard)
        stream.pause(4800)
        return stream.next_blocks(lab.encoder)

    return {f"{new} + 8 frames": milliseconds(lab, partial(spoken, lab.mel(new + AHEAD_FRAMES))) for new in (14, 100)}


def kernels(lab: Lab) -> Figures:
    """Return the milliseconds of the fifteen kernels that take the most of one replay, with their counts."""
    if lab.device.type != "cuda":
        return {}
    works: Figures = {f"{each} frames": lab.vocoder._captured[WindowShape(1, each)] for each in (96, 24)}  # noqa: SLF001  # Profiled.
    found: Figures = {}
    for name, work in (works | {"watermark": lab.marker._replays[BATCH_WINDOWS]}).items():  # noqa: SLF001  # The same.
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            work()
            _wait(lab.device)
        ranked = sorted(profile.key_averages(), key=lambda each: -each.self_device_time_total)
        found[f"{name}, all {sum(each.count for each in ranked)}"] = (
            sum(each.self_device_time_total for each in ranked) / 1e3
        )
        found |= {f"{name}, {each.count} x {each.key[:90]}": each.self_device_time_total / 1e3 for each in ranked[:15]}
    return found


PARTS: Final = {each.__name__: each for each in (equal, bits, times, marks, chain, together, kernels)}

if __name__ == "__main__":
    main()
