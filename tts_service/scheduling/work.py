"""What there is to do: speech tokens of segments in one lane, chunks that become sound in the other.

A piece of work is known by a number (`key`) that its owner gives it and that is never used twice. Work that nobody
wants any more is simply not shown again: a decision names only what it was shown.
"""

import math
from dataclasses import dataclass
from enum import Enum

from tts_service.types import Priority as Priority  # noqa: PLC0414  # Part of what work is, for all who schedule it.


class Work(Enum):
    """Kinds of work that cost time on a device; a size of it is how much is done at once."""

    # Members are few and the same for life; an enum's own hash is computed in Python, a thousand times a second.
    __hash__ = object.__hash__

    PROMPT = "prompt"
    """Reading a segment's prompt and choosing its first token, one segment at a time."""
    TOKEN = "token"  # noqa: S105  # No password.
    """One token of each of so many segments."""
    ENCODE = "encode"
    """The beginning of the decode of so many chunks."""
    SOLVE = "solve"
    """One step of the flow's solver for so many chunks."""
    SOUND = "sound"
    """Waveform and mark of so many chunks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenWork:
    """A segment that may have tokens made. `rows` are the network's for it: two with guidance, else one."""

    key: int
    rows: int
    due_at: float = math.inf
    """By when its next chunk's tokens should be there; what is bulk has no such time."""
    waiting_since: float
    """Since when it could have had its next chunk's tokens."""
    left: int
    """Tokens to the end of its next chunk."""
    room: int
    """Tokens that it may have before it is too far ahead of what becomes sound."""
    begun: bool = True
    """Whether its prompt has been read."""
    opens: bool = False
    """Whether its chunk is the first that can be heard, after nothing or a silence."""
    priority: Priority = Priority.INTERACTIVE

    def __post_init__(self) -> None:
        assert self.rows in {1, 2}
        assert 1 <= self.left <= self.room


class ChunkState(Enum):
    """How far a chunk has come."""

    WAITING = "waiting"
    SOLVING = "solving"
    SOLVED = "solved"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkWork:
    """A chunk of tokens on its way to sound: a session has at most one, because the next one continues its state."""

    key: int
    due_at: float = math.inf
    """By when its sound should be there; what is bulk has no such time."""
    waiting_since: float
    """Since when its tokens have been there."""
    steps_left: int
    """Steps of the solver that are left: all of them before it is begun."""
    state: ChunkState = ChunkState.WAITING
    opens: bool = False
    """Whether it is the first that can be heard, after nothing or a silence."""
    priority: Priority = Priority.INTERACTIVE

    def __post_init__(self) -> None:
        assert self.steps_left >= 0
        assert (self.state is ChunkState.SOLVED) == (self.steps_left == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Nothing to do before this time, unless something comes; `math.inf` for nothing at all."""

    until: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """What may be computed at once, and is measured so."""

    segments: int
    chunks: int
