"""What is still to be told of moves that were made: a line in the log, and a word to whoever counts.

Both take Python's lock from those who speak, and from the next move. So they wait until no further move does, and where
modules move without a rest, moves of one kind share a line a second.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from tts_service.residency.situation import Move

NOTES_SECONDS: Final = 1.0
"""Time between two tellings; what is noted after a longer rest is told at once."""

MOST_NOTES: Final = 1024
"""Moves that may wait to be told of: more than can be made in that time."""

OnMove = Callable[[Move, int, float], object]
"""Hears, in one thread at a time, of a move that was made: its bytes and seconds. Must be quick."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Sum:
    """Moves of one kind."""

    moves: int = 0
    moved_bytes: int = 0
    seconds: float = 0.0


class MoveNotes:
    """Moves that nobody has been told of. Thread-safe; times are of one clock."""

    def __init__(self, on_move: OnMove) -> None:
        self._on_move = on_move
        self._notes: list[tuple[Move, int, float]] = []
        self._told_seconds = float("-inf")
        self._telling = threading.Lock()

    def __repr__(self) -> str:
        return f"<MoveNotes {len(self._notes)} to tell>"

    @property
    def due_seconds(self) -> float | None:
        """When they are to be told; None if there are none."""
        if not self._notes:
            return None
        return float("-inf") if len(self._notes) >= MOST_NOTES else self._told_seconds + NOTES_SECONDS

    def add(self, move: Move, *, moved_bytes: int, seconds: float) -> None:
        """Note a move that was made."""
        self._notes.append((move, moved_bytes, seconds))

    def tell(self, *, now_seconds: float) -> None:
        """Tell of all, in their order, if it is time."""
        with self._telling:
            due_seconds = self.due_seconds
            if due_seconds is None or due_seconds > now_seconds:
                return
            self._told_seconds = now_seconds
            notes, self._notes = self._notes, []
            kinds: dict[Move, _Sum] = {}
            for move, moved_bytes, seconds in notes:
                kind = kinds.setdefault(move, _Sum())
                kind.moves += 1
                kind.moved_bytes += moved_bytes
                kind.seconds += seconds
                self._on_move(move, moved_bytes, seconds)
            for move, kind in kinds.items():
                _log_moves(move, kind)


def _log_moves(move: Move, kind: _Sum) -> None:
    """Write a line; it says how many moves it is about if that is not one."""
    count = {} if kind.moves == 1 else {"moves": kind.moves}
    _log.info(
        "module_moved",
        module=move.module,
        source=move.source.name,
        target=move.target.name,
        bytes=kind.moved_bytes,
        seconds=round(kind.seconds, 6),
        authority=move.authority.value,
        **count,
    )
