"""Whether the engine hangs. Pure: what was heard of it, and when, are arguments.

It says now and then that its event loop turns, and how long the longest step under way has taken: a kernel that never
ends leaves the loop alone and shows in the step, a process that is stopped says nothing at all. Loading takes long and
holds Python's lock for seconds, so that an engine which comes up is given more time.
"""

from dataclasses import dataclass, replace
from typing import Final

START_FACTOR: Final = 12.0
"""How many times as long an engine that comes up may be silent: two minutes by default."""

LOOK_SECONDS: Final = 0.5
LATE_SECONDS: Final = 1.0
"""Who looks so much later than it should has been held up itself, and must not blame the engine for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vigil:
    """What is known: when something was heard last, what that said, and when it was looked at last."""

    heard_at: float
    looked_at: float
    ready: bool = False
    step_seconds: float | None = None


def begun(now: float) -> Vigil:
    """Return the beginning, with nothing heard yet."""
    return Vigil(heard_at=now, looked_at=now)


def heard(vigil: Vigil, step_seconds: float | None, now: float) -> Vigil:
    """Take in that the engine lives, and how long the longest step under way has taken."""
    return replace(vigil, heard_at=now, step_seconds=step_seconds)


def came_up(vigil: Vigil) -> Vigil:
    """Take in that it has come up."""
    return replace(vigil, ready=True)


def looked(vigil: Vigil, hang_seconds: float, now: float) -> tuple[Vigil, str | None]:
    """Look at it; return in words why it hangs, None if it does not."""
    late_seconds = now - vigil.looked_at - LOOK_SECONDS
    if late_seconds > LATE_SECONDS:
        vigil = replace(vigil, heard_at=min(now, vigil.heard_at + late_seconds))
    vigil = replace(vigil, looked_at=now)
    silent_seconds = now - vigil.heard_at
    limit_seconds = hang_seconds if vigil.ready else START_FACTOR * hang_seconds
    if silent_seconds > limit_seconds:
        return vigil, f"it has said nothing for {silent_seconds:.1f} s"
    if vigil.ready and vigil.step_seconds is not None and vigil.step_seconds > hang_seconds:
        return vigil, f"one step has taken {vigil.step_seconds:.1f} s"
    return vigil, None
