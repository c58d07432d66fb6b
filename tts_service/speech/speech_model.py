"""What speaks: the seam between the engine, which leases modules and runs steps, and a model, which computes.

A model gives an utterance's speech, an utterance its segments', and a segment's speech comes in steps. Each step names
the modules that it needs and gets them leased, with nothing else of the engine's; between two steps modules may leave
and come back. Whoever calls keeps one utterance's steps in order and one at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from tts_service.speech.session_config import SessionConfig
from tts_service.types import ModuleName, Segment, Waveform

Modules = Mapping[ModuleName, Any]
"""Leased modules by name."""


class SpeechGuard(Enum):
    """What ended a segment's speech tokens, where it was not the model's own end."""

    ALIGNMENT = "alignment"
    TOKEN_LIMIT = "token_limit"  # noqa: S105  # No password.
    TEXT_BUDGET = "text_budget"
    LOOP = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechOutcome:
    """What became of a segment: its speech tokens (0 for a model that has none), and the guard that ended it."""

    speech_tokens: int = 0
    guard: SpeechGuard | None = None


class SegmentSpeech(Protocol):
    """One segment's speech on its way."""

    @property
    def next_modules(self) -> frozenset[ModuleName]:
        """The modules that the next step needs; empty once the segment has been spoken or cancelled."""
        ...

    @property
    def outcome(self) -> SpeechOutcome:
        """What became of it so far."""
        ...

    def step(self, leased: Modules) -> Waveform:
        """Compute the next step; return the speech that it brings, often none. Raises GreenroomError."""
        ...

    def cancel(self) -> None:
        """End as soon as can be, also within a step; may be called from any thread."""
        ...


class UtteranceSpeech(Protocol):
    """One utterance's speech: what its segments share."""

    def segment(self, segment: Segment, index: int) -> SegmentSpeech:
        """Begin to speak a segment; `index` counts the utterance's segments and is part of their seed."""
        ...


class SpeechModel(Protocol):
    """A model that can be asked for. `modules` are what speech with it needs: they are called when a session opens."""

    modules: frozenset[ModuleName]

    def utterance(self, config: SessionConfig) -> UtteranceSpeech:
        """Begin an utterance. Raises CallerError, such as for a voice that is gone."""
        ...
