"""What is still to be told of moves that were made: a line in the log, and a word to whoever counts.

Both take Python's lock from those who speak, and from the next move. So they wait until no further move does, or until
there are many of them.
"""

from collections.abc import Callable

import structlog

from tts_service.residency.situation import Move

MOST_NOTES = 16
"""Moves that may wait to be told of: more than there are modules, so that waking is never interrupted."""

OnMove = Callable[[Move, int, float], object]
"""Hears, in the thread that moves, of a move that was made: its bytes and seconds. Must be quick."""

_log = structlog.get_logger(__name__)


class MoveNotes:
    """Moves that nobody has been told of. For the thread that moves."""

    def __init__(self, on_move: OnMove) -> None:
        self._on_move = on_move
        self._notes: list[tuple[Move, int, float]] = []

    def __repr__(self) -> str:
        return f"<MoveNotes {len(self._notes)} to tell>"

    @property
    def are_many(self) -> bool:
        """Whether they must not wait any longer."""
        return len(self._notes) >= MOST_NOTES

    def add(self, move: Move, *, moved_bytes: int, seconds: float) -> None:
        """Note a move that was made."""
        self._notes.append((move, moved_bytes, seconds))

    def tell(self) -> None:
        """Tell of all, in their order."""
        notes, self._notes = self._notes, []
        for move, moved_bytes, seconds in notes:
            _log_move(move, moved_bytes=moved_bytes, seconds=seconds)
            self._on_move(move, moved_bytes, seconds)


def _log_move(move: Move, *, moved_bytes: int, seconds: float) -> None:
    _log.info(
        "module_moved",
        module=move.module,
        source=move.source.name,
        target=move.target.name,
        bytes=moved_bytes,
        seconds=round(seconds, 6),
        authority=move.authority.value,
    )
