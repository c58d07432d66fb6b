"""How much room is trusted: what has stayed free for long enough to bring a module home into it.

Pure. Modules that come home into room that goes away again have moved for nothing, and together, because each of them
waits for itself alone. So room that did not last is trusted less, for all of them: next time it must have lasted for
three times as long, and a neighbour who takes and gives back at a pace of its own soon meets nobody on the way. What
counts is the least that was free meanwhile. A module that could stay for a minute restores the trust.
"""

from dataclasses import dataclass, replace

SETTLED_SECONDS = 60.0
"""Room that held a module for so long was room."""
DISAPPOINTMENTS_MAXIMUM = 4
"""The shortest absence of 5 s becomes 10, 40, 130 and 400 s, and no more."""
LOWS_MAXIMUM = 16
"""Readings that are remembered; of more, neighbours are merged to the lower of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Low:
    """The least that was free since the low before, at the latest at that time."""

    seconds: float
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Room over time: since when there are readings, the lows among them, ever higher, and what came of trusting it."""

    since_seconds: float | None = None
    lows: tuple[Low, ...] = ()
    disappointments: int = 0
    called_at_seconds: float | None = None


def noted(room: Room, free_bytes: int | None, now_seconds: float) -> Room:
    """Return the room after one more reading; None for one that failed, after which all is begun anew."""
    settled = room.called_at_seconds is not None and now_seconds - room.called_at_seconds >= SETTLED_SECONDS
    disappointments = 0 if settled else room.disappointments
    called_at_seconds = None if settled else room.called_at_seconds
    if free_bytes is None:
        return Room(disappointments=disappointments, called_at_seconds=called_at_seconds)
    higher = tuple(low for low in room.lows if low.free_bytes < free_bytes)
    return Room(
        since_seconds=now_seconds if room.since_seconds is None else room.since_seconds,
        lows=_merged((*higher, Low(seconds=now_seconds, free_bytes=free_bytes))),
        disappointments=disappointments,
        called_at_seconds=called_at_seconds,
    )


def called_into(room: Room, now_seconds: float) -> Room:
    """Return the room after a module was called home into it."""
    return replace(room, called_at_seconds=now_seconds)


def given_up(room: Room) -> Room:
    """Return the room after modules had to leave: if one was called home lately, it has disappointed."""
    if room.called_at_seconds is None:
        return room
    disappointments = min(room.disappointments + 1, DISAPPOINTMENTS_MAXIMUM)
    return replace(room, disappointments=disappointments, called_at_seconds=None)


def trusted_bytes(room: Room, absence_seconds: float, now_seconds: float) -> int:
    """Return what has stayed free for long enough: at first what is free now, later what was for a time that grows."""
    if room.since_seconds is None:
        return 0
    span_seconds = absence_seconds * (3**room.disappointments - 1)
    if now_seconds - room.since_seconds < span_seconds:
        return 0
    recent = [low.free_bytes for low in room.lows if low.seconds >= now_seconds - span_seconds]
    return recent[0] if recent else 0


def _merged(lows: tuple[Low, ...]) -> tuple[Low, ...]:
    """Return no more lows than are remembered: the two that are closest in time become the lower one, at the later."""
    if len(lows) <= LOWS_MAXIMUM:
        return lows
    at = min(range(len(lows) - 1), key=lambda place: lows[place + 1].seconds - lows[place].seconds)
    merged = Low(seconds=lows[at + 1].seconds, free_bytes=lows[at].free_bytes)
    return (*lows[:at], merged, *lows[at + 2 :])
