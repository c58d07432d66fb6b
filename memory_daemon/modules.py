"""What is remembered of each module between reports: since when it is where it is, how often it is used, its cycles.

Pure. A report tells counters and places; rates and times follow from two of them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from memory_daemon.types import ModuleStatus

RATE_SECONDS = 60.0
"""Calls count for about a minute: long against one utterance, short against a change of voice or language."""
CALL_SECONDS = 5.0
"""Uses within so long are one call: the steps of an utterance wait for a module once, however many they are."""
CALL_BACK_SECONDS = 0.005
"""What a request waits besides the restore itself: a lease is asked for again, a thread wakes, a move is verified."""
CYCLE_SECONDS = 60.0
"""A module that leaves within this time of its return is cycling: dearer, and slower to move, for every time."""
CYCLES_MAXIMUM = 7
"""Each cycle doubles what a module waits for: 5 s become eleven minutes, and no more."""
RESIDENCE_CYCLES_MAXIMUM = 3
"""Staying home is doubled less often: somebody waits for the memory."""
UNMEASURED_BYTES_PER_SECOND = 1e9
"""Restore speed that is assumed before the first restore: a file in the page cache."""
UNMEASURED_SECONDS = 0.05
"""Set-up time assumed with it, so that a small module is not thought free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleHistory:
    """One module over time; `since_seconds` is None if it was there before anyone looked.

    `returns` counts in a row how often it left again soon after it came home.
    """

    at_home: bool
    since_seconds: float | None
    uses: int
    counted_at_seconds: float
    calls_per_second: float
    called_at_seconds: float | None = None
    returns: int = 0
    returned_at_seconds: float | None = None

    def been_for(self, least_seconds: float, now_seconds: float) -> bool:
        """Tell whether it has been where it is for that long; longer is asked of one that cycles."""
        doublings = min(self.returns, RESIDENCE_CYCLES_MAXIMUM if self.at_home else CYCLES_MAXIMUM)
        return self.since_seconds is None or now_seconds - self.since_seconds >= least_seconds * 2**doublings


def begin(status: ModuleStatus, *, now_seconds: float, unix_seconds: float) -> ModuleHistory:
    """Return the history of a module that is seen for the first time."""
    return ModuleHistory(
        at_home=status.at_home,
        since_seconds=None,
        uses=status.uses,
        counted_at_seconds=now_seconds,
        calls_per_second=_first_rate(status, unix_seconds),
    )


def follow(history: ModuleHistory, status: ModuleStatus, *, now_seconds: float) -> ModuleHistory:
    """Return the history with one more report."""
    counted = _count(history, status, now_seconds)
    if status.at_home == history.at_home:
        return _forget_cycles(counted, now_seconds)
    moved = replace(counted, at_home=status.at_home, since_seconds=now_seconds)
    return replace(moved, returned_at_seconds=now_seconds) if status.at_home else _leave(moved, now_seconds)


def last_use_age_seconds(status: ModuleStatus, unix_seconds: float) -> float:
    """Return how long ago it was last used; infinite if never."""
    if status.last_use_unix_seconds is None:
        return math.inf
    return max(0.0, unix_seconds - status.last_use_unix_seconds)


def measured_bytes_per_second(modules: Iterable[ModuleStatus]) -> float | None:
    """Return how fast modules came home, those together that have; None before the first."""
    measured = [(status.home_bytes, status.restore_seconds) for status in modules if status.restore_seconds]
    return sum(size for size, _ in measured) / sum(seconds for _, seconds in measured) if measured else None


def cost_per_byte(history: ModuleHistory, status: ModuleStatus, bytes_per_second: float | None = None) -> float:
    """Return what its absence costs for each byte that it gives: calls a second x seconds to wait / bytes.

    A module that cycles gets dearer with every return. One that never came home is taken to come as fast as others
    beside it did, at `bytes_per_second`; were it taken for slow, those that have been away would always leave again.
    """
    assumed_seconds = UNMEASURED_SECONDS + status.home_bytes / UNMEASURED_BYTES_PER_SECOND
    if bytes_per_second is not None:
        assumed_seconds = status.home_bytes / bytes_per_second
    restore_seconds = assumed_seconds if status.restore_seconds is None else status.restore_seconds
    return (
        history.calls_per_second
        * (CALL_BACK_SECONDS + restore_seconds)
        * (1 + history.returns)
        / max(1, status.home_bytes)
    )


def _first_rate(status: ModuleStatus, unix_seconds: float) -> float:
    age_seconds = last_use_age_seconds(status, unix_seconds)
    return 0.0 if math.isinf(age_seconds) else 1 / max(RATE_SECONDS, age_seconds)


def _count(history: ModuleHistory, status: ModuleStatus, now_seconds: float) -> ModuleHistory:
    elapsed_seconds = now_seconds - history.counted_at_seconds
    if elapsed_seconds <= 0:
        return history
    last_seconds = history.called_at_seconds
    called = status.uses > history.uses and (last_seconds is None or now_seconds - last_seconds >= CALL_SECONDS)
    weight = 1 - math.exp(-elapsed_seconds / RATE_SECONDS)
    # Every field is named: this is made for every module with every tick, and `replace` takes four times as long.
    return ModuleHistory(
        at_home=history.at_home,
        since_seconds=history.since_seconds,
        uses=status.uses,
        counted_at_seconds=now_seconds,
        calls_per_second=history.calls_per_second + weight * (called / elapsed_seconds - history.calls_per_second),
        called_at_seconds=now_seconds if called else last_seconds,
        returns=history.returns,
        returned_at_seconds=history.returned_at_seconds,
    )


def _leave(history: ModuleHistory, now_seconds: float) -> ModuleHistory:
    last = history.returned_at_seconds
    cycling = last is not None and now_seconds - last < CYCLE_SECONDS
    return replace(history, returns=history.returns + 1 if cycling else 0)


def _forget_cycles(history: ModuleHistory, now_seconds: float) -> ModuleHistory:
    """Forgive a module that has stayed home for long; one that is away has shown nothing yet."""
    last = history.returned_at_seconds
    settled = history.at_home and last is not None and now_seconds - last >= CYCLE_SECONDS
    return replace(history, returns=0) if history.returns and settled else history
