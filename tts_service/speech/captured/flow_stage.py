"""The flow as it runs on a GPU: a beginning and a solver's step for each of some lengths, captured once.

A decode replays the beginning's graph, which encodes, and the step's as often as there are steps, so that other work
can pass between any two of them. Equal to `mel_flow.flow_mel`, to rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from tts_service.models.chatterbox.running_form import running_dtype
from tts_service.speech.captured.flow_buckets import FlowBuckets
from tts_service.speech.captured.flow_decode import FlowDecode, SolverTables, solver_tables
from tts_service.speech.captured.flow_device_operations import DeviceOperations
from tts_service.speech.captured.flow_operations import FlowOperations, PlainOperations
from tts_service.speech.captured.graphs import EagerGraphs, Graphs, Work
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt

MakeOperations = Callable[[torch.dtype], FlowOperations]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Captured:
    """What was captured over one module."""

    address: int
    operations: FlowOperations
    tables: SolverTables
    decode: FlowDecode
    begin: dict[int, Work]
    step: dict[int, Work]


class CapturedFlow:
    """`flow_mel` for one module at a time, from graphs; one decode at a time."""

    def __init__(
        self, graphs: Graphs, *, buckets: FlowBuckets | None = None, operations: MakeOperations | None = None
    ) -> None:
        self._graphs = graphs
        self._buckets = FlowBuckets() if buckets is None else buckets
        self._operations = usual_operations(graphs.device) if operations is None else operations
        self._captured: _Captured | None = None

    def capture(self, flow: Any) -> None:
        """Capture all lengths over this module, which is leased. Not while anything is served."""
        with torch.inference_mode():
            operations = self._operations(running_dtype(flow))
            tables = solver_tables(flow.decoder, self._graphs.device)
            tables = replace(tables, rows=self._graphs.constant(tables.rows))
            decode = FlowDecode(self._graphs, flow, operations, tables, frames=self._buckets.frames[-1])
            lengths = self._buckets.frames[::-1]  # The longest first: what it leaves in the pool holds all others'.
            self._captured = _Captured(
                address=_address(flow),
                operations=operations,
                tables=tables,
                decode=decode,
                begin={each: self._work("begin", decode, decode.begin, each) for each in lengths},
                step={each: self._work("step", decode, decode.step, each) for each in lengths},
            )

    def is_captured(self, flow: Any) -> bool:
        """Tell whether the graphs are this module's, at the address where it is."""
        return self._captured is not None and self._captured.address == _address(flow)

    def mel(
        self, flow: Any, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor, *, final: bool
    ) -> torch.Tensor:
        """Return `flow_mel` of the same: (80, frames), float32. The module is leased, and captured.

        What is longer than every bucket is computed without graphs, at its own length.
        """
        assert self._captured is not None
        assert self._captured.address == _address(flow), "captured over another module"
        frames = FRAMES_PER_TOKEN * (len(prompt.tokens) + len(tokens))
        assert noise.shape[1] <= frames
        del final  # The noise is as long as what comes out.
        bucket = self._buckets.of_frames(frames)
        with torch.inference_mode():
            if bucket is None:
                return self._long_mel(flow, prompt, tokens, noise)
            captured = self._captured
            captured.decode.write(prompt, tokens, noise)
            captured.begin[bucket]()
            for _ in range(captured.tables.steps):
                captured.step[bucket]()
            return captured.decode.mel(bucket, len(prompt.mel), noise.shape[1])

    def _long_mel(self, flow: Any, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        assert self._captured is not None
        operations, tables = self._captured.operations, self._captured.tables
        frames = FRAMES_PER_TOKEN * (len(prompt.tokens) + len(tokens))
        decode = FlowDecode(EagerGraphs(self._graphs.device), flow, operations, tables, frames=frames)
        decode.write(prompt, tokens, noise)
        decode.begin(frames)
        for _ in range(decode.steps):
            decode.step(frames)
        return decode.mel(frames, len(prompt.mel), noise.shape[1])

    def _work(self, name: str, decode: FlowDecode, work: Callable[[int], None], length: int) -> Work:
        decode.rest()
        return self._graphs.capture(f"flow {name} {length}", lambda: work(length))

    def __repr__(self) -> str:
        state = "nothing captured" if self._captured is None else repr(self._captured.decode)
        return f"<CapturedFlow {len(self._buckets.frames)} lengths | {state}>"


def usual_operations(device: torch.device) -> MakeOperations:
    """Return what makes the operations that are used on a device."""
    return PlainOperations if device.type == "cpu" else DeviceOperations


def _address(flow: torch.nn.Module) -> int:
    return next(flow.parameters()).data_ptr()
