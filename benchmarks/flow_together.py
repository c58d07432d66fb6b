"""What steps and decodes of several streams cost: sections of `flow_speed`."""

from functools import partial
from typing import Any, Final, Protocol

import torch

from benchmarks.flow_networks import Case, case_of, device_ms, times_ms
from tts_service.speech.captured.flow_batch import BatchedFlow
from tts_service.speech.captured.flow_shapes import COMPANY_SHAPES, LONG_SHAPES, MOST_SEGMENT_FRAMES, FlowShapes
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.mel_flow import flow_mel
from tts_service.types import Precision

CPU_SHAPES: Final = FlowShapes(places=8, lone_frames=(576, 1216), shared_frames=(1216,), streams=(2, 8))
STREAMS: Final = (1, 2, 4, 8)
FRAMES: Final = (560, 650, 730, 890)
"""A first chunk, and all of segments of 3, 4.7 and 8 s; a prompt of 10 s each."""


class FlowLab(Protocol):
    """What the sections are given."""

    @property
    def device(self) -> torch.device:
        """Where it is computed."""
        ...

    @property
    def on_gpu(self) -> bool:
        """Whether graphs are captured."""
        ...

    def flow(self, precision: Precision, *, meanflow: bool = False) -> Any:
        """Return a network in its running form."""
        ...

    def graphs(self) -> Graphs:
        """Return graphs with a pool of their own."""
        ...

    def tell(self, name: str, value: float, unit: str, peer: float | None = None) -> None:
        """Keep a figure, and print it."""
        ...


def together(lab: FlowLab) -> None:
    """Time steps and decodes of several streams, beside as many one after the other; what capturing takes besides."""
    for model, meanflow in (("english", False), ("turbo", True)):
        flow, stage = lab.flow(Precision.FP16, meanflow=meanflow), _captured(lab, model, meanflow=meanflow)
        for frames in FRAMES if lab.on_gpu else FRAMES[:1]:
            for streams in STREAMS if lab.on_gpu else (1, 8):
                cases = [case_of(frames, lab.device, final=True)] * streams
                _one_size(lab, stage, flow, f"{model}, {streams} x {frames} frames", cases)
        _mixed(lab, stage, flow, model)


def whole(lab: FlowLab) -> None:
    """Time the longest segment decoded whole."""
    for model, meanflow in (("english", False), ("turbo", True)):
        flow, stage = lab.flow(Precision.FP16, meanflow=meanflow), BatchedFlow(lab.graphs(), shapes=LONG_SHAPES)
        stage.capture(flow)
        case = case_of(MOST_SEGMENT_FRAMES, lab.device, final=True)
        decode = partial(stage.mel, flow, case.prompt, case.tokens, case.noise, final=True)
        lab.tell(f"{model} decode, {case.frames} frames", times_ms(decode, lab.device, repeats=1, warm_up=1)[0], "ms")


def _captured(lab: FlowLab, model: str, *, meanflow: bool) -> BatchedFlow:
    before = torch.cuda.memory_reserved(lab.device) if lab.on_gpu else 0
    stage = BatchedFlow(lab.graphs(), shapes=COMPANY_SHAPES if lab.on_gpu else CPU_SHAPES)
    capture = partial(stage.capture, lab.flow(Precision.FP16, meanflow=meanflow))
    lab.tell(f"{model} capturing all shapes", times_ms(capture, lab.device, repeats=1, warm_up=0)[0] / 1000, "s")
    if lab.on_gpu:
        reserved = torch.cuda.memory_reserved(lab.device) - before
        lab.tell(f"{model} pool and buffers of all shapes", reserved / 2**20, "MiB")
    return stage


def _one_size(lab: FlowLab, stage: BatchedFlow, flow: Any, name: str, cases: list[Case]) -> None:
    repeats = 9 if lab.on_gpu else 1
    _begun(stage, flow, cases)
    stage.solve(flow, range(len(cases)))  # What is timed then repeats it.
    assert stage._captured is not None  # noqa: SLF001  # What is measured.
    work = stage._captured.step[stage.shapes.step_of(each.frames for each in cases)]  # noqa: SLF001  # The same.
    with torch.inference_mode():
        lab.tell(f"step, {name}", device_ms(work, lab.device, repeats=20), "ms")
    stage.drop_all()
    taken = times_ms(partial(_decoded, stage, flow, cases), lab.device, repeats=repeats, warm_up=1)
    lone = times_ms(partial(_decoded, stage, flow, cases[:1]), lab.device, repeats=repeats, warm_up=1)
    lab.tell(f"decode, {name}", taken[len(taken) // 2], "ms", len(cases) * lone[len(lone) // 2])


def _mixed(lab: FlowLab, stage: BatchedFlow, flow: Any, model: str) -> None:
    """Tell how far decodes of different lengths together are from the eager flow's, of the same weights."""
    cases = [case_of(frames, lab.device, final=True) for frames in (FRAMES if lab.on_gpu else (560, 580))]
    made = _decoded(stage, flow, cases)
    far = [
        (flow_mel(flow, each.prompt, each.tokens, each.noise, final=True) - mel).abs()
        for each, mel in zip(cases, made, strict=True)
    ]
    lab.tell(f"{model} together, mean distance", max(each.mean().item() for each in far), "")
    lab.tell(f"{model} together, largest distance", max(each.max().item() for each in far), "")


def _begun(stage: BatchedFlow, flow: Any, cases: list[Case]) -> None:
    for place, case in enumerate(cases):
        stage.begin(flow, place, case.prompt, case.tokens, case.noise)


def _decoded(stage: BatchedFlow, flow: Any, cases: list[Case]) -> list[torch.Tensor]:
    """Return the mel of decodes that take all steps together."""
    _begun(stage, flow, cases)
    for _ in range(stage.steps):
        stage.solve(flow, range(len(cases)))
    return [stage.finished(place) for place in range(len(cases))]
