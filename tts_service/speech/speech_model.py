"""What speaks: the seam between the engine, which leases modules and runs steps, and a model, which computes.

A model gives an utterance's speech, an utterance its segments', and a segment's speech is made in stages that hand over
to each other. A stage's steps each get its modules leased, with nothing else of the engine's; between two steps modules
may leave and come back.

Rules
* A stage's steps are taken in order and one at a time, and so are those of all stages of a lane. Lanes may overlap, and
  a segment's first stage may begin while the segment before it is still being made: whatever the order, the samples are
  the same.
* Whether a stage has a step, and whether it has ended, may be asked from any thread at any time.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, Self, runtime_checkable

import torch

from tts_service.errors import GreenroomError
from tts_service.speech.session_config import SessionConfig
from tts_service.speech.speech_outcome import SpeechOutcome
from tts_service.types import ModuleName, Segment, Waveform

Modules = Mapping[ModuleName, Any]
"""Leased modules by name."""

Sound = Waveform | torch.Tensor
"""Speech (samples,), float32, at MODEL_SAMPLE_RATE_HERTZ: on the host, or where it was computed."""


class Lane(Enum):
    """Stages that follow each other on one thread, and on a device on one stream."""

    # Members are few and the same for life; an enum's own hash is computed in Python, hundreds of times a second.
    __hash__ = object.__hash__

    TOKENS = "tokens"
    SOUND = "sound"


class Stage(Protocol):
    """One stage of a segment's speech."""

    @property
    def lane(self) -> Lane:
        """Where it is computed."""
        ...

    @property
    def modules(self) -> frozenset[ModuleName]:
        """What each of its steps needs."""
        ...

    @property
    def has_step(self) -> bool:
        """Whether its next step can be taken now: it was handed enough, and those after it are not far behind."""
        ...

    @property
    def ended(self) -> bool:
        """Whether no step follows."""
        ...

    def step(self, leased: Modules) -> Sound | None:
        """Compute the next step; return the speech that it brings, if any. Raises GreenroomError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenNeed:
    """What a segment's tokens ask for. `rows` are the network's for it; `left` tokens end its next chunk.

    `room` is how many it may have before it is too far ahead of its sound, which is behind by `ahead` tokens. `alone`:
    it shares no burst.
    """

    rows: int
    left: int
    room: int
    ahead: int
    begun: bool
    alone: bool = False


TokensMade = Sequence[int] | GreenroomError
"""A segment's part of a burst: tokens as they were chosen, or what it lacks."""


@runtime_checkable
class JoinedStage(Stage, Protocol):
    """A stage for tokens that may have them in one burst with other segments', each with an end of its own.

    Everything but `need` and `together` is for the lane's thread.
    """

    @property
    def together(self) -> object:
        """What it shares with those that it may join; None if it may join nobody."""
        ...

    @property
    def free_places(self) -> int:
        """How many segments more may begin."""
        ...

    @property
    def most_together(self) -> int:
        """How many may have a burst together."""
        ...

    @property
    def need(self) -> TokenNeed | None:
        """What it asks for; None without a step."""
        ...

    def begin(self, leased: Modules) -> None:
        """Read the prompt; bursts may follow. Raises GreenroomError."""
        ...

    def burst(self, stages: Sequence[Self], leased: Modules, count: int) -> Sequence[TokensMade]:
        """Compute so many tokens of each of these stages, all with as many rows; nobody has them yet."""
        ...

    def take(self, made: TokensMade, leased: Modules) -> None:
        """Take the stage's part of a burst, and hand over what are chunks. Raises GreenroomError."""
        ...

    def close(self, *, over: bool = False) -> None:
        """Give back what it holds, if it was cancelled or its order is over."""
        ...


@runtime_checkable
class DecodingStage(Stage, Protocol):
    """A stage whose step decodes a chunk, by so many steps of a solver, to what the stages after it make sound of."""

    @property
    def solver_steps(self) -> int:
        """Steps of the solver."""
        ...


class SegmentSpeech(Protocol):
    """One segment's speech on its way."""

    @property
    def stages(self) -> Sequence[Stage]:
        """Its stages in the order of the data path; the last of them brings the speech, in the lane of sound."""
        ...

    @property
    def welcomes_next(self) -> bool:
        """Whether the first stage of the segment after it should begin, though this one is not made yet."""
        ...

    @property
    def outcome(self) -> SpeechOutcome:
        """What became of it so far."""
        ...

    def cancel(self) -> None:
        """End every stage as soon as can be, also within a step; may be called from any thread."""
        ...


class MarkStream(Protocol):
    """What marks one utterance, block by block; `watermark.WatermarkStream` is one.

    Audio that holds what is not a number ends in ENGINE_FAULT, when it is written or when it is marked.
    """

    @property
    def modules(self) -> frozenset[ModuleName]:
        """What `next_blocks` needs leased: `watermark.encoder`, and what it computes in."""
        ...

    def write(self, samples: Any) -> None:
        """Take `Sound` of any length, as the model's last stage makes it."""
        ...

    def pause(self, count: int) -> None:
        """Write the pause that belongs here, of so many samples."""
        ...

    @property
    def ready(self) -> bool:
        """Whether `next_blocks` has any to give."""
        ...

    def next_blocks(self, encoder: Any) -> Waveform | None:
        """Return the next marked samples, on the host; None if they need more audio or there are none left.

        `encoder` is `watermark.encoder` under a lease.
        """
        ...

    def finish(self) -> None:
        """Say that no more audio comes."""
        ...


class UtteranceSpeech(Protocol):
    """One utterance's speech: what its segments share."""

    def segment(self, segment: Segment, index: int, *, in_turns: bool) -> SegmentSpeech:
        """Begin to speak a segment; `index` counts the utterance's segments and is part of their seed.

        `in_turns`: its stages take long turns instead of overlapping, because their modules are not home together.
        """
        ...

    def marks(self) -> MarkStream:
        """Begin to mark the utterance's audio."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareStep:
    """A step to be taken under a lease before the first utterance, such as capturing graphs; `name` is for progress.

    One that is `late` is only worth it for several sessions at once: it may be taken while others speak, after all that
    come before it, and without it they speak one after the other. For any other that raises RoomWantedError, room is
    made, and it is run again.
    """

    name: str
    lane: Lane
    modules: frozenset[ModuleName]
    run: Callable[[Modules], None]
    late: bool = False


class SpeechModel(Protocol):
    """A model that can be asked for."""

    @property
    def modules(self) -> Sequence[ModuleName]:
        """The modules that speech with it needs, but for the watermark's, in the order of the data path."""
        ...

    @property
    def step_modules(self) -> Sequence[frozenset[ModuleName]]:
        """What a step of each stage needs at once, with that of the marks, in the order of the data path."""
        ...

    def prepare_steps(self) -> Sequence[PrepareStep]:
        """Return what is to be done before the first utterance."""
        ...

    def utterance(self, config: SessionConfig) -> UtteranceSpeech:
        """Begin an utterance. Raises CallerError, such as for a voice that is gone."""
        ...


def next_stage(stages: Sequence[Stage]) -> Stage | None:
    """Return the stage whose step is to be taken next: the furthest down the data path that has one."""
    for stage in reversed(stages):  # A generator takes twice as long, thousands of times a second.
        if stage.has_step:
            return stage
    return None


def all_ended(stages: Collection[Stage]) -> bool:
    """Tell whether no step follows in any of these stages."""
    for stage in stages:  # noqa: SIM110  # A generator, as in next_stage, takes twice as long.
        if not stage.ended:
            return False
    return True
