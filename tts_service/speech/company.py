"""Sound of several segments made at once: the seam between the lane's loop, stages that may join, and what computes.

Rules
* Who joins has the samples that it has alone, to rounding; who must have the same bits joins nobody (`company` None).
* A decode has a place from its beginning to its mel, in memory that stays as long. Whoever leaves the lane's loop, for
  whatever reason, gives the place back, and begins the chunk anew if it goes on.
* Everything here is for the lane's thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch

from tts_service.errors import GreenroomError
from tts_service.speech.mel import MelState
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.random_source import RandomSource
from tts_service.speech.speech_model import DecodingStage, MarkStream, Modules, Sound, Stage
from tts_service.speech.waveform import WaveformState
from tts_service.types import ModuleName, Waveform


@dataclass(frozen=True, slots=True, kw_only=True)
class MelWanted:
    """A decode of a state's tokens, as `mel.decode_mel` is given it."""

    state: MelState
    prompt: MelPrompt
    random: RandomSource
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundWanted:
    """A piece of a segment's mel that is to become sound, as `waveform.sound` is given it."""

    state: WaveformState
    mel: torch.Tensor
    random: RandomSource
    ahead: torch.Tensor
    final: bool


class Decoding(Protocol):
    """A decode that has a place."""

    @property
    def steps_left(self) -> int:
        """Steps of the solver that it still takes."""
        ...


class Company(Protocol):
    """What computes sound of several segments at once, under a lease on `modules` besides each stage's own."""

    @property
    def modules(self) -> frozenset[ModuleName]:
        """The memory that it computes in."""
        ...

    def begin(self, flow: Any, wanted: MelWanted) -> Decoding | None:
        """Begin a decode in a place; None if there is no place for it."""
        ...

    def solve(self, flow: Any, decodes: Sequence[Any]) -> None:
        """Take the next step of these decodes; what was queued before it is done when this returns."""
        ...

    def finished(self, decode: Any) -> tuple[MelState, torch.Tensor]:
        """Return what `mel.decode_mel` does, of a decode that has taken all its steps, and free its place."""
        ...

    def drop(self, decode: Any) -> None:
        """Free the place of a decode that nobody wants any more."""
        ...

    def sound_all(self, vocoder: Any, pieces: Sequence[SoundWanted]) -> Sequence[tuple[WaveformState, Sound]]:
        """Return what `Stages.sound` does of pieces of several segments."""
        ...

    def next_of_all(self, encoder: Any, streams: Sequence[Any]) -> Sequence[Waveform | GreenroomError | None]:
        """Return what `MarkStream.next_blocks` of several streams gives, or raises."""
        ...


@runtime_checkable
class CompanyMarks(MarkStream, Protocol):
    """Marks that may be made together with others'."""

    @property
    def company(self) -> Company | None:
        """With whom; None if by itself."""
        ...


@runtime_checkable
class CompanyStage(Stage, Protocol):
    """A stage whose steps may be computed together with others' of its kind."""

    @property
    def company(self) -> Company | None:
        """With whom; None if by itself."""
        ...

    def compute(self, stages: Sequence[Self], leased: Modules) -> Sequence[Any]:
        """Compute the next step of each of these stages; nobody has it yet."""
        ...

    def take(self, made: Any) -> Sound | None:
        """Take what was computed, as `step` would: return the speech that it brings. Raises GreenroomError."""
        ...


@runtime_checkable
class CompanyDecoding(DecodingStage, Protocol):
    """A stage that decodes, whose decode may have a place among others'."""

    @property
    def company(self) -> Company | None:
        """With whom; None if by itself."""
        ...

    @property
    def steps_left(self) -> int | None:
        """Steps of the decode that has a place; None if none has."""
        ...

    def begin(self, leased: Modules) -> None:
        """Begin the next chunk's decode in a place; decode it at once if there is none. Raises GreenroomError."""
        ...

    def solve(self, stages: Sequence[Self], leased: Modules) -> None:
        """Take a step of each of these stages' decodes."""
        ...

    def finish(self, leased: Modules) -> None:
        """Hand the mel over, after the last step."""
        ...

    def close(self) -> None:
        """Give the place back, if it has one."""
        ...
