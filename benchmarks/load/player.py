"""A listener's player: it plays in real time, and notes each time that audio was needed before it came. Pure.

Playback begins with the first audio, or `delay_seconds` after it. When what came is played out, playback stands still
until more comes; that gap is an underrun if the utterance goes on. Nothing is forgiven.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time in which there was nothing to play."""

    dry_at: float
    seconds: float
    offset_seconds: float
    """How much audio had been played."""


class Player:
    """Plays one utterance."""

    def __init__(self, *, delay_seconds: float = 0.0) -> None:
        self.received_seconds = 0.0
        self.began_at: float | None = None
        self._delay_seconds = delay_seconds
        self._gaps_seconds = 0.0

    def __repr__(self) -> str:
        return f"<Player {self.received_seconds:.2f} s came | {self._gaps_seconds:.3f} s of gaps>"

    @property
    def ends_at(self) -> float:
        """When what came is played out. There has to be some."""
        assert self.began_at is not None
        return self.at(self.received_seconds)

    def at(self, position_seconds: float) -> float:
        """Return when a position is played, as far as is known now."""
        assert self.began_at is not None
        return self.began_at + self._gaps_seconds + position_seconds

    def position_seconds(self, now: float) -> float:
        """Return how much has been played."""
        if self.began_at is None:
            return 0.0
        return min(self.received_seconds, max(0.0, now - self.began_at - self._gaps_seconds))

    def receive(self, seconds: float, now: float) -> Gap | None:
        """Take audio in; return the gap that it ended, if there was one."""
        if self.began_at is None:
            self.began_at = now + self._delay_seconds
        gap = self._gap(now) if seconds > 0.0 else None
        if gap is not None:
            self._gaps_seconds += gap.seconds
        self.received_seconds += seconds
        return gap

    def _gap(self, now: float) -> Gap | None:
        dry_at = self.ends_at
        if self.received_seconds <= 0.0 or now <= dry_at:
            return None
        return Gap(dry_at=dry_at, seconds=now - dry_at, offset_seconds=self.received_seconds)
