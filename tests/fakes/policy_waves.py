"""Neighbours who take and give back memory at a pace of their own, and how much a policy may move for them.

All modules were used a moment before it begins, so that every one of them is expected home, and nobody asks for any
meanwhile: what moves, moves for the neighbour alone.
"""

from memory_daemon.journal_records import Entry
from memory_daemon.marks import GPU_POLICY, resolve
from memory_daemon.simulation import simulate
from memory_daemon.simulation_contenders import Governed
from memory_daemon.simulation_outcome import Outcome
from memory_daemon.simulation_trace import traces_of
from tests.fakes.trace_stories import CLONED, SPOKEN, TOTAL_BYTES, Teller, modules

PERIODS_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
HIGH_GIGABYTES = (20.0, 20.8, 21.5, 23.0)
"""What a neighbour takes at most: below low, below critical, and until next to nothing of ours fits beside it."""
LOW_GIGABYTES = 13.0
BEGIN_SECONDS = 10.0
LASTS_SECONDS = 240.0
USED_MODULES = len(SPOKEN) + len(CLONED)
NOISE_MOVES_A_MINUTE = 20
"""The most that any noise of the table comes to is 18; it was 31 before modules were weighed as a whole."""


def square(period_seconds: float, high_gigabytes: float) -> list[Entry]:
    """Return the journal of a neighbour who takes and gives back, each for half a period."""
    teller = _teller(seed=7)
    for number in range(int(LASTS_SECONDS / period_seconds)):
        seconds = BEGIN_SECONDS + number * period_seconds
        teller.others(seconds, high_gigabytes)
        teller.others(seconds + period_seconds / 2, LOW_GIGABYTES)
    return _ended(teller)


def noise(period_seconds: float, high_gigabytes: float, seed: int) -> list[Entry]:
    """Return the journal of neighbours who want something else every period."""
    teller = _teller(seed=seed)
    for number in range(int(LASTS_SECONDS / period_seconds)):
        wanted = teller.random.uniform(LOW_GIGABYTES, high_gigabytes)
        teller.others(BEGIN_SECONDS + number * period_seconds, wanted)
    return _ended(teller)


def outcome(entries: list[Entry]) -> Outcome:
    """Return what comes of the daemon's own policy."""
    (trace,) = traces_of(entries)
    return simulate(trace, Governed(GPU_POLICY), resolve(GPU_POLICY, TOTAL_BYTES))


def calls_maximum(period_seconds: float) -> int:
    """Return how often modules may be called home for a square wave, however long it lasts.

    Only room that has lasted for 0, 10, 40... s is called into; in one valley, modules come at the cool-down's pace.
    """
    valley_seconds, calls = period_seconds / 2, 0
    for disappointments in range(5):
        left_seconds = valley_seconds - GPU_POLICY.minimum_absence_seconds * (3**disappointments - 1)
        if left_seconds >= 0:
            calls += min(USED_MODULES, 1 + int(left_seconds / GPU_POLICY.cool_down_seconds))
    return calls


def moves_maximum(period_seconds: float) -> int:
    """Return how often modules may move in all: each leaves once, and again after every call home."""
    return len(modules()) + 2 * calls_maximum(period_seconds)


def _teller(seed: int) -> Teller:
    teller = Teller(seed=seed)
    teller.service(0, "speech")
    teller.others(0, LOW_GIGABYTES)
    teller.speak(1)
    teller.clone(2)
    return teller


def _ended(teller: Teller) -> list[Entry]:
    teller.others(BEGIN_SECONDS + LASTS_SECONDS, LOW_GIGABYTES)
    return sorted(teller.entries, key=lambda entry: entry.unix_seconds)
