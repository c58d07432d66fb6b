"""What came of a policy on a trace, in numbers, and what came of the real one, as its journal says.

Pure. Seconds below a mark are counted against the marks of one policy, the same for all that are compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from memory_daemon.journal_records import DecisionMade, Demanded, Directed, Entry, Reported, Sampled
from memory_daemon.marks import Marks
from memory_daemon.types import Authority, DeviceId, ModuleName, ServiceName

POINTS_MAXIMUM = 2_000
"""What a plot can show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Free memory from a moment on, and what governed modules hold then."""

    seconds: float
    free_bytes: int
    held_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Modules that moved: sent away and called home by directives, brought home by requests, pushed out by others."""

    sent_away: int = 0
    called_home: int = 0
    brought_home: int = 0
    pushed_out: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.sent_away + self.called_home + self.brought_home + self.pushed_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one policy.

    `denials` counts how often others wanted memory that was not there, `denied_seconds` how long they did without it.
    `refused_requests` found no memory for the modules they need. `busiest_minute_moves` is the most moves in a minute.
    `shifts` are modules that went from host memory to disk, or back, while they were away.
    """

    name: str
    device: DeviceId
    seconds: float
    below_critical_seconds: float
    below_low_seconds: float
    below_high_seconds: float
    moves: Moves
    busiest_minute_moves: int = 0
    requests: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    longest_wait_seconds: float = 0.0
    refused_requests: int = 0
    denials: int = 0
    denied_seconds: float = 0.0
    directives: int = 0
    trims: int = 0
    predictions: int = 0
    prediction_hits: int = 0
    shifts: int = 0
    points: tuple[Point, ...] = ()


def busiest_minute(moments_seconds: Iterable[float]) -> int:
    """Return the most moments that fall into any minute."""
    moments = sorted(moments_seconds)
    first = most = 0
    for last, seconds in enumerate(moments):
        while seconds - moments[first] >= 60.0:  # noqa: PLR2004 - A minute.
            first += 1
        most = max(most, last - first + 1)
    return most


def moves_of(moves: list[tuple[bool, Authority]]) -> Moves:
    """Return moves by what they were: whether each led home, and at whose word."""
    return Moves(
        sent_away=moves.count((False, Authority.DIRECTIVE)),
        called_home=moves.count((True, Authority.DIRECTIVE)),
        brought_home=moves.count((True, Authority.DEMAND)),
        pushed_out=moves.count((False, Authority.DEFAULT)),
    )


def thinned(points: list[Point]) -> list[Point]:
    """Return at most so many points that a plot can use, evenly chosen; the last one always."""
    step = -(-len(points) // POINTS_MAXIMUM)
    return points if step <= 1 else [*points[:-1:step], points[-1]]


def recorded(entries: Iterable[Entry], device: DeviceId, marks: Marks) -> Outcome:
    """Return what came of the policy that really ran, as far as its journal tells.

    A journal tells of moves when reports show them, and of free memory when a reading told something.
    """
    tally = _Tally(device)
    for entry in entries:
        tally.take(entry)
    below = [tally.below_seconds(mark) for mark in (marks.critical_bytes, marks.low_bytes, marks.high_bytes)]
    return Outcome(
        name="recorded",
        device=device,
        seconds=tally.seconds,
        below_critical_seconds=below[0],
        below_low_seconds=below[1],
        below_high_seconds=below[2],
        moves=tally.moves(),
        busiest_minute_moves=busiest_minute(tally.moments),
        requests=tally.requests,
        waits=tally.waits,
        wait_seconds=tally.wait_seconds,
        directives=tally.directives,
        trims=tally.trims,
        shifts=tally.shifts,
        points=tuple(tally.points),
    )


class _Tally:
    """One pass over a journal."""

    def __init__(self, device: DeviceId) -> None:
        self.device = device
        self.points: list[Point] = []
        self.moments: list[float] = []
        self.directives = self.trims = self.shifts = self.requests = self.waits = 0
        self.wait_seconds = self.seconds = 0.0
        self._start: float | None = None
        self._counts: dict[tuple[ServiceName, ModuleName], tuple[int, int]] = {}
        self._held: dict[ServiceName, int] = {}
        self._away = self._home = 0

    def __repr__(self) -> str:
        return f"<_Tally {self.device} | {len(self.points)} points | {len(self.moments)} moves>"

    def take(self, entry: Entry) -> None:
        """Count one entry."""
        self._start = entry.unix_seconds if self._start is None else self._start
        self.seconds = max(self.seconds, entry.unix_seconds - self._start)
        match entry.record:
            case Sampled(device=self.device, error="") as sampled:
                held_bytes = sum(self._held.values())
                self.points.append(Point(seconds=self.seconds, free_bytes=sampled.free_bytes, held_bytes=held_bytes))
            case Reported(device=self.device) as reported:
                self._take_report(reported)
            case Directed(sent=True) as directed if directed.service in self._held:
                self.directives += 1
            case DecisionMade(device=self.device) as made:
                self.trims += len(made.trim)
                self.shifts += len(made.to_disk) + len(made.to_host)
            case Demanded() as demanded if demanded.service in self._held:
                self.requests += bool(demanded.uses)
                self.waits += demanded.restore_waits
                self.wait_seconds += demanded.restore_wait_seconds
            case _:
                pass

    def moves(self) -> Moves:
        """Return the moves; a journal does not tell what a request brought home from what a directive did."""
        return Moves(sent_away=self._away, called_home=self._home)

    def below_seconds(self, mark_bytes: int) -> float:
        """Return how long free memory was below a mark; a reading holds until the next."""
        ends = [point.seconds for point in self.points[1:]] + [self.seconds]
        return sum(
            end - point.seconds for point, end in zip(self.points, ends, strict=True) if point.free_bytes < mark_bytes
        )

    def _take_report(self, reported: Reported) -> None:
        modules = reported.report.modules
        self._held[reported.service] = sum(status.home_bytes for status in modules if status.at_home)
        for status in modules:
            key, now = (reported.service, status.module), (status.evictions, status.restores)
            before = self._counts.get(key, now)
            away, home = max(0, now[0] - before[0]), max(0, now[1] - before[1])
            self._counts[key] = now
            self._away, self._home = self._away + away, self._home + home
            self.moments += [self.seconds] * (away + home)
