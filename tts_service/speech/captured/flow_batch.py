"""The flow for several streams at once: decodes that join, step together and leave, each at a step of its own.

Rules
* A decode is begun in a place, takes its steps with whoever else is chosen, and its mel is taken out when all are done.
  Who is not chosen waits as it is; who is cancelled is dropped and not chosen again. One thread calls.
* Equal to `mel_flow.flow_mel` to rounding in any company. A decode that is begun `alone` takes its steps by itself
  whoever is chosen with it, at its own length: the same work on the same shapes every time, so the same bits.
* What is in places lasts as long as their memory stays: whoever lets go of it calls `drop_all`, and begins again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from tts_service.models.chatterbox.running_form import running_dtype
from tts_service.speech.captured.flow_decode import solver_tables
from tts_service.speech.captured.flow_operations import FlowOperations
from tts_service.speech.captured.flow_places import FlowPlaces
from tts_service.speech.captured.flow_shapes import USUAL_SHAPES, FlowShapes, StepShape, shortest
from tts_service.speech.captured.flow_stage import MakeOperations, usual_operations
from tts_service.speech.captured.graphs import Graphs, Work
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class _Captured:
    """What was captured over one module."""

    address: int
    places: FlowPlaces
    begin: dict[int, Work]
    step: dict[StepShape, Work]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedDecode:
    """A decode that has a place: `frames` as its noise has them, `all_frames` with those that only look ahead."""

    prompt_frames: int
    frames: int
    all_frames: int
    alone: bool
    steps_taken: int = 0


class BatchedFlow:
    """`flow_mel` for one module at a time and several decodes at once, from graphs."""

    def __init__(
        self, graphs: Graphs, *, shapes: FlowShapes = USUAL_SHAPES, operations: MakeOperations | None = None
    ) -> None:
        self._graphs = graphs
        self.shapes = shapes
        self._operations = operations
        self._captured: _Captured | None = None
        self._decodes: dict[int, PlacedDecode] = {}

    def capture(self, flow: Any) -> None:
        """Capture all shapes over this module, which is leased. Not while anything is served."""
        self.open(flow)
        for each in self.captures():
            each(flow)

    def open(self, flow: Any) -> None:
        """Make the places for this module, which is leased; nothing is captured for it yet."""
        with torch.inference_mode():
            tables = solver_tables(flow.decoder, self._graphs.device)
            tables = replace(tables, rows=self._graphs.constant(tables.rows))
            operations = self._made_operations(running_dtype(flow))
            places = FlowPlaces(self._graphs, flow, operations, tables, shapes=self.shapes)
            self._captured = _Captured(address=_address(flow), places=places, begin={}, step={})
            self._decodes.clear()

    def rehearse(self, flow: Any) -> None:
        """Take a step of the smallest shape without capturing it: what is compiled for a step is so afterwards."""
        with torch.inference_mode():
            places, shape = self._of(flow).places, self.shapes.steps()[-1]
            places.rest(shape)
            places.step(shape)

    def captures(self) -> list[Callable[[Any], None]]:
        """Return the captures shape by shape, in their order, each to be given the module, leased; after `open`.

        The largest come first: what it leaves in the pool holds all others'.
        """
        steps = [partial(self._capture_step, each) for each in self.shapes.steps()]
        return [*steps, *(partial(self._capture_begin, each) for each in self.shapes.lone_frames[::-1])]

    def is_captured(self, flow: Any) -> bool:
        """Tell whether the graphs are this module's, at the address where it is."""
        return self._captured is not None and self._captured.address == _address(flow)

    def holds(self, prompt: MelPrompt, token_count: int) -> bool:
        """Tell whether a decode of so many tokens after a prompt is short enough for a place."""
        return FRAMES_PER_TOKEN * (len(prompt.tokens) + token_count) <= self.shapes.most_frames

    @property
    def steps(self) -> int:
        """How many steps a decode takes."""
        return self._of().places.steps

    @property
    def free_places(self) -> tuple[int, ...]:
        """The places that nobody has."""
        return tuple(place for place in range(self.shapes.places) if place not in self._decodes)

    def begin(
        self,
        flow: Any,
        place: int,
        prompt: MelPrompt,
        tokens: torch.Tensor,
        noise: torch.Tensor,
        *,
        alone: bool = False,
    ) -> None:
        """Encode a decode, as `flow_mel` is given it, into a free place. The module is leased, and captured.

        `noise` is read before anything that is queued later. Nothing has changed if this fails.
        """
        captured = self._of(flow)
        all_frames = FRAMES_PER_TOKEN * (len(prompt.tokens) + len(tokens))
        assert place in self.free_places
        assert self.holds(prompt, len(tokens))
        assert noise.shape[1] <= all_frames
        assert self.shapes.lone_steps or not alone
        with torch.inference_mode():
            captured.places.write(place, prompt, tokens, noise)
            captured.begin[shortest(self.shapes.lone_frames, all_frames)]()
        self._decodes[place] = PlacedDecode(
            prompt_frames=len(prompt.mel), frames=noise.shape[1], all_frames=all_frames, alone=alone
        )

    def solve(self, flow: Any, places: Sequence[int]) -> None:
        """Take the next step of the decodes in these places, each of which has one left.

        More than the largest shape holds take it one batch after the other, and so do those that are to be alone.
        """
        captured = self._of(flow)
        assert len(set(places)) == len(places)
        assert all(self.steps_left(each) > 0 for each in places)
        with torch.inference_mode():
            for together in self._batches(places):
                decodes = [self._decodes[each] for each in together]
                shape = self.shapes.step_of(each.all_frames for each in decodes)
                members = [
                    (place, each.steps_taken, each.frames) for place, each in zip(together, decodes, strict=True)
                ]
                captured.places.choose(members, shape)
                captured.step[shape]()
                for place, each in zip(together, decodes, strict=True):
                    self._decodes[place] = replace(each, steps_taken=each.steps_taken + 1)

    def steps_left(self, place: int) -> int:
        """Return how many steps the decode in a place still takes."""
        return self.steps - self._decodes[place].steps_taken

    def finished(self, place: int) -> torch.Tensor:
        """Return the mel of a decode that has taken all its steps, (80, frames) as `flow_mel`'s, and free its place."""
        assert self.steps_left(place) == 0
        decode = self._decodes[place]
        with torch.inference_mode():
            mel = self._of().places.mel(place, decode.prompt_frames, decode.frames)
        del self._decodes[place]
        return mel

    def drop(self, place: int) -> None:
        """Free a place whose decode nobody wants any more. What is queued for it may still run."""
        del self._decodes[place]

    def drop_all(self) -> None:
        """Free all places: their memory is let go of."""
        self._decodes.clear()

    def mel(
        self, flow: Any, prompt: MelPrompt, tokens: torch.Tensor, noise: torch.Tensor, *, final: bool
    ) -> torch.Tensor:
        """Return `flow_mel` of the same at once, by itself, in a free place; for what `holds`."""
        del final  # The noise is as long as what comes out.
        place = self.free_places[0]
        self.begin(flow, place, prompt, tokens, noise, alone=True)
        while self.steps_left(place):
            self.solve(flow, [place])
        return self.finished(place)

    def _batches(self, places: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield those that take a step together."""
        yield from ([each] for each in places if self._decodes[each].alone)
        others, most = [each for each in places if not self._decodes[each].alone], self.shapes.most_streams
        yield from (others[begin : begin + most] for begin in range(0, len(others), most))

    def _capture_begin(self, frames: int, flow: Any) -> None:
        captured = self._of(flow)
        places = captured.places
        with torch.inference_mode():
            places.rest(StepShape(1, frames))
            captured.begin[frames] = self._graphs.capture(f"flow begin {frames}", lambda: places.begin(frames))

    def _capture_step(self, shape: StepShape, flow: Any) -> None:
        captured, name = self._of(flow), f"flow step {shape.streams} x {shape.frames}"
        places = captured.places
        with torch.inference_mode():
            places.rest(shape)
            captured.step[shape] = self._graphs.capture(name, lambda: places.step(shape))

    def _made_operations(self, dtype: torch.dtype) -> FlowOperations:
        make: Callable[[torch.dtype], FlowOperations] = self._operations or usual_operations(self._graphs.device)
        return make(dtype)

    def _of(self, flow: Any = None) -> _Captured:
        """Return what is captured, over this module."""
        assert self._captured is not None, "nothing is captured yet"
        assert flow is None or self._captured.address == _address(flow), "captured over another module"
        return self._captured

    def __repr__(self) -> str:
        state = "nothing captured" if self._captured is None else f"{len(self._captured.step)} shapes of a step"
        return f"<BatchedFlow {len(self._decodes)} of {self.shapes.places} places | {state}>"


def _address(flow: torch.nn.Module) -> int:
    return next(flow.parameters()).data_ptr()
