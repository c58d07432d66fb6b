"""Sound of several segments at once on a GPU: places for decodes, and waveforms and marks side by side.

Beside the stages for one segment, in memory of its own that is only there while there are several: one session by
itself neither waits for it nor holds it.

Rules
* While a decode has a place, the memory is kept, whoever wants it.
* At most two steps are queued: who joins does so before the next but one, and what a step took is known soon.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from tts_service.errors import GreenroomError
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.speech.captured.flow_batch import BatchedFlow
from tts_service.speech.captured.flow_shapes import COMPANY_SHAPES, FlowShapes
from tts_service.speech.captured.graphs import Graphs
from tts_service.speech.captured.marks_stage import WIDE_WINDOWS, CapturedEncoder
from tts_service.speech.captured.marks_stream import CapturedMarks, next_of_all
from tts_service.speech.captured.vocoder_shapes import SHARED_SHAPES, VocoderShapes, WindowShape
from tts_service.speech.captured.vocoder_stage import CapturedVocoder, Sounding
from tts_service.speech.company import MelWanted, SoundWanted
from tts_service.speech.mel import MelDecode, MelNoise, MelState, wanted_decode, with_mel
from tts_service.speech.waveform import WaveformState
from tts_service.types import WATERMARK_ENCODER, ModuleName, Waveform

LONE_WINDOWS: Final = (32, 96, 200)
"""For a window that is unlike all others: most alone are the other stage's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanyMemory:
    """Where several segments' sound is made: graphs, the scratch module that they are in, and what keeps it there.

    `keep` is given by how many more, or fewer if negative, it is to be kept. `shapes` and `windows` are captured.
    """

    graphs: Graphs
    scratch: frozenset[ModuleName]
    keep: Callable[[int], object] = lambda _count: None
    shapes: FlowShapes = COMPANY_SHAPES
    windows: tuple[WindowShape, ...] = SHARED_SHAPES
    forget_cache: Callable[[], object] = lambda: None
    """Gives back what torch keeps of memory in which work was tried before it was captured."""


class PlacedMel:
    """A decode in a place."""

    def __init__(self, place: int, wanted: MelWanted, decode: MelDecode, steps: int) -> None:
        self.place = place
        self.wanted = wanted
        self.decode = decode
        self.steps_left = steps

    def __repr__(self) -> str:
        return f"<PlacedMel in {self.place} | {self.steps_left} steps left>"


class CapturedCompany:
    """What is captured for several segments, once it was opened and all `captures` were made, each under a lease.

    `noise` draws what decodes begin from.
    """

    def __init__(self, memory: CompanyMemory, noise: Callable[[], MelNoise]) -> None:
        self.modules = memory.scratch
        self._noise = noise
        self._flow = BatchedFlow(memory.graphs, shapes=memory.shapes)
        self._memory = memory
        self._vocoder: CapturedVocoder | None = None
        self._encoder: CapturedEncoder | None = None
        self._behind: torch.cuda.Event | None = None

    def open_flow(self, flow: Any) -> None:
        """Make places for decodes, and compile what their steps need."""
        self._flow.open(flow)
        self._flow.rehearse(flow)

    def open_vocoder(self, vocoder: Any) -> None:
        """Make room for waveforms, and compile what they need."""
        memory = self._memory
        self._vocoder = CapturedVocoder(memory.graphs, buckets=LONE_WINDOWS, shared=memory.windows)
        self._vocoder.rehearse(vocoder)

    def captures(self) -> list[tuple[ModuleName, Callable[[Any], None]]]:
        """Return what is captured, shape by shape, in its order: the module that each is to be given, and what does it.

        After `open_flow` and `open_vocoder`.
        """
        shapes = VocoderShapes(lone=LONE_WINDOWS, shared=self._memory.windows).all()
        return [
            *((S3GEN_FLOW, each) for each in self._flow.captures()),
            *((S3GEN_VOCODER, partial(self._capture_windows, each)) for each in shapes),
            (WATERMARK_ENCODER, self._capture_marks),
        ]

    def _capture_windows(self, shape: WindowShape, vocoder: Any) -> None:
        assert self._vocoder is not None, "it was not opened"
        self._vocoder.capture_shape(shape, vocoder)

    def _capture_marks(self, encoder: Any) -> None:
        self._encoder = CapturedEncoder(self._memory.graphs, wide=WIDE_WINDOWS)
        self._encoder.capture(encoder)

    def forget_cache(self) -> None:
        """Give back what trying work has left."""
        self._memory.forget_cache()

    @property
    def free_places(self) -> int:
        """How many decodes more may begin."""
        return len(self._flow.free_places)

    def begin(self, flow: Any, wanted: MelWanted) -> PlacedMel | None:
        """Begin a decode in a place; None if there is none, it is too long for one, or there is nothing to decode."""
        free = self._flow.free_places
        if not free:
            return None
        decode = wanted_decode(wanted.state, wanted.prompt, wanted.random, final=wanted.final, noise=self._noise())
        if decode is None or not self._flow.holds(wanted.prompt, len(decode.tokens)):
            return None
        self._flow.begin(flow, free[0], wanted.prompt, decode.tokens, decode.noise)
        self._memory.keep(1)
        return PlacedMel(free[0], wanted, decode, self._flow.steps)

    def solve(self, flow: Any, decodes: Sequence[PlacedMel]) -> None:
        """Take the next step of these decodes; the step before it is done when this returns."""
        self._flow.solve(flow, [each.place for each in decodes])
        for each in decodes:
            each.steps_left = self._flow.steps_left(each.place)
        if torch.cuda.is_available() and next(flow.parameters()).is_cuda:
            before, self._behind = self._behind, torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # Torch's.
            self._behind.record()
            if before is not None:
                before.synchronize()

    def finished(self, decode: PlacedMel) -> tuple[MelState, torch.Tensor]:
        """Return the next state and the frozen mel of a decode that has taken all its steps, and free its place."""
        made = self._flow.finished(decode.place)
        self._memory.keep(-1)
        return with_mel(decode.wanted.state, decode.decode, made)

    def drop(self, decode: PlacedMel) -> None:
        """Free a place whose decode nobody wants any more."""
        self._flow.drop(decode.place)
        self._memory.keep(-1)

    def sound_all(self, vocoder: Any, pieces: Sequence[SoundWanted]) -> list[tuple[WaveformState, torch.Tensor]]:
        """Make sound of pieces of several segments, which stays on the device."""
        assert self._vocoder is not None, "nothing is captured yet"
        return self._vocoder.sound_all(vocoder, [_sounding(each) for each in pieces])

    def next_of_all(self, encoder: Any, streams: Sequence[CapturedMarks]) -> list[Waveform | GreenroomError | None]:
        """Mark what can be marked of several utterances, in one copy to the host."""
        return list(next_of_all(encoder, streams, self._encoder))

    def __repr__(self) -> str:
        return f"<CapturedCompany {self._flow!r}>"


def _sounding(piece: SoundWanted) -> Sounding:
    return Sounding(
        state=piece.state, mel=piece.mel, random=piece.random, ahead=piece.ahead, final=piece.final, alone=False
    )
