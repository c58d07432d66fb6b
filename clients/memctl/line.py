"""The line to the daemon as a live view knows it: up, or down since when and why. Pure."""

from dataclasses import dataclass

from memctl.types import Status

FIRST_BACK_OFF_SECONDS = 0.25
LONGEST_BACK_OFF_SECONDS = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The connection to the daemon: since when it is down (None while it is up), why, and how often we dialled."""

    down_unix_seconds: float | None = None
    cause: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse:
    """The newest status, when it came, and how the line is."""

    status: Status
    received_unix_seconds: float
    line: Line


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
