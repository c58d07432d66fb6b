"""What became of a segment's speech, as values that need no torch: both sides of the engine's seam have them."""

from dataclasses import dataclass
from enum import Enum


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
