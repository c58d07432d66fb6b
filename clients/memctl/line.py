"""The line to the daemon as a live view knows it: up, or down since when and why. Pure."""

from dataclasses import dataclass

from memctl.types import MemoryPoint, Status

FIRST_BACK_OFF_SECONDS = 0.25
LONGEST_BACK_OFF_SECONDS = 4.0
PAST_SECONDS = 900.0
"""What is drawn of the past at most; the daemon tells no more."""
POINT_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The connection to the daemon: since when it is down (None while it is up), why, and how often we dialled."""

    down_unix_seconds: float | None = None
    cause: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """The newest status, when it came, how the line is, and memory up to then, oldest first."""

    status: Status
    received_unix_seconds: float
    line: Line
    points: tuple[MemoryPoint, ...] = ()


def with_points(points: tuple[MemoryPoint, ...], status: Status) -> tuple[MemoryPoint, ...]:
    """Return memory over time with a status added: one point a second for each device, of the last minutes."""
    last = {point.device: point.unix_seconds for point in points}
    fresh = tuple(
        MemoryPoint(
            device=one.device,
            unix_seconds=one.unix_seconds,
            total_bytes=one.total_bytes,
            free_bytes=one.free_bytes,
        )
        for one in status.devices
        if one.unix_seconds is not None and not one.error
        if one.device not in last or one.unix_seconds - last[one.device] >= POINT_SECONDS
    )
    if not fresh:
        return points
    begin = fresh[-1].unix_seconds - PAST_SECONDS
    return (*(point for point in points if point.unix_seconds >= begin), *fresh)


def line_lost(line: Line, cause: str, now_unix_seconds: float) -> Line:
    """Return the line after it broke, or after one more dial failed."""
    down = now_unix_seconds if line.down_unix_seconds is None else line.down_unix_seconds
    return Line(down_unix_seconds=down, cause=cause, attempts=line.attempts + 1)


def back_off_seconds(attempts: int) -> float:
    """Return how long to wait before the next dial."""
    doublings = min(max(0, attempts - 1), 16)
    return float(min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2**doublings))


def patience_with(status: Status, timeout_seconds: float) -> float:
    """Return how long the next status may take: the longest period of the policy, and the time of an answer."""
    period_seconds = status.policy.values.get("maximum_period")
    return timeout_seconds + (period_seconds if isinstance(period_seconds, int | float) else 0.0)
