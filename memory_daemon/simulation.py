"""Replay a trace under any policy: a world in simulated time, and what came of it.

Pure: the same trace and the same policy give the same outcome. Between two events nothing changes, so that time below
a mark is exact. A contender sees what the daemon sees (readings, reports, the confirmation before it acts) at the times
that it asks for, and moves nothing itself: what it wants arrives as a directive and the simulated services obey.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from memory_daemon.marks import Marks
from memory_daemon.orders import Observation, ServiceView
from memory_daemon.simulation_contender import Contender
from memory_daemon.simulation_host import host_reading
from memory_daemon.simulation_outcome import Outcome, Point, busiest_minute, moves_of, thinned
from memory_daemon.simulation_service import SimulatedService
from memory_daemon.simulation_trace import (
    AllocatorKept,
    Asked,
    Event,
    HostStands,
    MemoryUnreadable,
    OthersUse,
    Overruled,
    ServiceCame,
    ServiceLeft,
    Trace,
)
from memory_daemon.types import Authority, MemorySample, ModuleName, Sample, SampleFailed, ServiceName, Wish

READING_SECONDS = 0.000_01
"""One NVML reading takes 7 to 12 us."""
DIRECTIVE_SECONDS = 0.003
"""From a decision to the service's move: a message over a Unix socket, and a thread that wakes."""
PATIENCE_SECONDS = 10.0
"""A request that finds no memory for its modules is refused after this long."""


def simulate(
    trace: Trace, contender: Contender, marks: Marks, floors: Mapping[ServiceName, int] | None = None
) -> Outcome:
    """Return what would have come of a policy; `marks` are those that time is counted against."""
    return _World(trace, contender, marks, floors or {}).run()


@dataclass(slots=True, kw_only=True)
class _Waiting:
    """A request that has found no memory yet."""

    asked: Asked
    since_seconds: float


class _World:
    """One run."""

    def __init__(self, trace: Trace, contender: Contender, marks: Marks, floors: Mapping[ServiceName, int]) -> None:
        self._trace = trace
        self._contender = contender
        self._marks = (marks.critical_bytes, marks.low_bytes, marks.high_bytes)
        self._floors = floors
        self._events: deque[Event] = deque(trace.events)
        self._services: dict[ServiceName, SimulatedService] = {}
        self._overruled: dict[tuple[ServiceName, ModuleName], Overruled] = {}
        self._orders: deque[tuple[float, Mapping[ServiceName, Wish]]] = deque()
        self._trims: deque[tuple[float, Mapping[ServiceName, int]]] = deque()
        self._waiting: list[_Waiting] = []
        self._wanted: dict[ServiceName, Wish] = {}
        self._now = self._next_step = self._last_step = 0.0
        self._used_bytes = 0
        self._unreadable: MemoryUnreadable | None = None
        self._host: HostStands | None = None
        self._below = [0.0, 0.0, 0.0]
        self._moves: list[tuple[float, bool, Authority]] = []
        self._points: list[Point] = []
        self._wait_spans: list[float] = []
        self._requests = self._refused = self._denials = self._directives = self._trimmed = self._shifts = 0
        self._denied_seconds = 0.0

    def __repr__(self) -> str:
        return f"<_World {self._now:.2f} of {self._trace.seconds:.2f} s | {self._contender.name}>"

    def run(self) -> Outcome:
        """Let all of it happen."""
        while self._now < self._trace.seconds or self._events:
            self._pass_until(self._next_moment())
            self._happen()
        return self._outcome()

    def _next_moment(self) -> float:
        moments = [self._next_step, self._trace.seconds]
        moments += [self._events[0].seconds] if self._events else []
        moments += [self._orders[0][0]] if self._orders else []
        moments += [self._trims[0][0]] if self._trims else []
        ends = [service.next_change_seconds(self._now) for service in self._services.values()]
        moments += [seconds for seconds in ends if seconds is not None]
        return max(self._now, min(moments))

    def _pass_until(self, seconds: float) -> None:
        span = seconds - self._now
        free_bytes = self._free_bytes()
        for place, mark_bytes in enumerate(self._marks):
            self._below[place] += span * (free_bytes < mark_bytes)
        self._denied_seconds += span * (self._missing_bytes() > 0)
        self._now = seconds

    def _happen(self) -> None:
        """Do all that is due: what happened, what services finish and obey, who waits, and the contender's step."""
        while self._events and self._events[0].seconds <= self._now:
            self._take(self._events.popleft())
        while self._orders and self._orders[0][0] <= self._now:
            self._hand_over(self._orders.popleft()[1])
        while self._trims and self._trims[0][0] <= self._now:
            self._trim(self._trims.popleft()[1])
        changed = [service.settle(self._now) for service in self._services.values()]
        for service in self._services.values():
            service.obey(self._free_bytes(), self._now)
        self._retry()
        if self._collect_moves() or any(changed):
            self._wake()
        if self._now >= self._next_step:
            self._step()
        self._note()

    def _take(self, event: Event) -> None:
        match event:
            case OthersUse():
                self._unreadable, missing_bytes = None, self._missing_bytes()
                self._used_bytes = event.used_bytes
                self._denials += self._missing_bytes() > max(0, missing_bytes)
            case MemoryUnreadable():
                self._unreadable = event
            case Asked():
                self._ask(event)
            case ServiceCame():
                self._services[event.service] = SimulatedService(event)
                self._wanted.pop(event.service, None)
                self._wake()
            case ServiceLeft():
                self._services.pop(event.service, None)
                self._wake()
            case AllocatorKept() if event.service in self._services:
                self._services[event.service].keep(event.change_bytes)
            case AllocatorKept():
                pass
            case HostStands():
                self._host = event
            case Overruled():
                self._overruled[event.service, event.module] = event
                self._wake()
            case _:
                assert_never(event)

    def _ask(self, asked: Asked) -> None:
        service = self._services.get(asked.service)
        if service is None:
            return
        service.claim(asked.claims)
        if asked.uses:
            self._requests += 1
            self._waiting.append(_Waiting(asked=asked, since_seconds=self._now))
            self._retry()

    def _retry(self) -> None:
        """Let requests go on that find memory now; one that has waited for too long is refused."""
        still = []
        for one in self._waiting:
            service = self._services.get(one.asked.service)
            waited = self._now - one.since_seconds
            ends = None if service is None else service.ask(one.asked.uses, self._free_bytes(), self._now)
            if ends is None and service is not None and waited < PATIENCE_SECONDS:
                still.append(one)
            elif ends is None:
                self._refused += 1
            elif waited + ends > 0 and service is not None:
                self._wait_spans.append(waited + ends)
                service.wait(waited + ends)
        self._waiting = still

    def _hand_over(self, wishes: Mapping[ServiceName, Wish]) -> None:
        for name, wish in wishes.items():
            if name in self._services:
                self._services[name].wish = wish

    def _trim(self, trims: Mapping[ServiceName, int]) -> None:
        for name, number in trims.items():
            if name in self._services:
                self._services[name].trim(number)
        self._wake()

    def _step(self) -> None:
        step = self._contender.step(self._observe(confirmed=False), lambda: self._observe(confirmed=True))
        wanted = {name: wish for name, wish in step.wishes.items() if name in self._services}
        news = {name: wish for name, wish in wanted.items() if self._wanted.get(name, Wish()) != wish}
        self._directives += len(news)
        self._wanted |= news
        if news:
            self._orders.append((self._now + DIRECTIVE_SECONDS, news))
        if step.trims:
            self._trimmed += len(step.trims)
            self._trims.append((self._now + DIRECTIVE_SECONDS, step.trims))
        self._last_step = self._now
        self._next_step = self._now + max(self._contender.shortest_seconds, step.next_seconds)

    def _wake(self) -> None:
        """End the contender's rest early, as a change at a service does; no step follows another at once."""
        self._next_step = min(self._next_step, max(self._now, self._last_step + self._contender.shortest_seconds))

    def _observe(self, *, confirmed: bool) -> Observation:
        self._now += READING_SECONDS
        return Observation(
            sample=self._sample(),
            services=tuple(self._view(service) for service in self._services.values()),
            overridden=frozenset(key for key, event in self._overruled.items() if event.kind is not None),
            confirmed=confirmed,
            host=host_reading(self._host, self._services.values(), self._trace.start_unix_seconds + self._now),
        )

    def _sample(self) -> Sample:
        device, unix_seconds = self._trace.device, self._trace.start_unix_seconds + self._now
        if self._unreadable is not None:
            return SampleFailed(
                device=device,
                seconds=self._now,
                unix_seconds=unix_seconds,
                reason=self._unreadable.reason,
                lost=self._unreadable.lost,
            )
        return MemorySample(
            device=device,
            seconds=self._now,
            unix_seconds=unix_seconds,
            total_bytes=self._trace.total_bytes,
            free_bytes=self._free_bytes(),
        )

    def _view(self, service: SimulatedService) -> ServiceView:
        return ServiceView(
            service=service.service,
            instance_id=service.instance_id,
            tier=service.tier,
            report=service.report(self._now, self._trace.start_unix_seconds + self._now),
            floor_bytes=self._floors.get(service.service, 0),
            trimmed=service.trimmed,
        )

    def _held_bytes(self) -> int:
        return sum(service.held_bytes for service in self._services.values())

    def _free_bytes(self) -> int:
        return max(0, -self._missing_bytes())

    def _missing_bytes(self) -> int:
        ours_bytes = sum(service.device_bytes for service in self._services.values())
        return self._used_bytes + ours_bytes - self._trace.total_bytes

    def _collect_moves(self) -> bool:
        found = [(self._now, moved.home, moved.authority) for one in self._services.values() for moved in one.moved]
        for service in self._services.values():
            service.moved.clear()
            self._shifts, service.shifts = self._shifts + service.shifts, 0
        self._moves += found
        return bool(found)

    def _note(self) -> None:
        point = Point(seconds=self._now, free_bytes=self._free_bytes(), held_bytes=self._held_bytes())
        last = self._points[-1] if self._points else None
        if last is None or (last.free_bytes, last.held_bytes) != (point.free_bytes, point.held_bytes):
            self._points.append(point)

    def _outcome(self) -> Outcome:
        predictions, hits = self._contender.predictions
        return Outcome(
            name=self._contender.name,
            device=self._trace.device,
            seconds=self._now,
            below_critical_seconds=self._below[0],
            below_low_seconds=self._below[1],
            below_high_seconds=self._below[2],
            moves=moves_of([(home, authority) for _, home, authority in self._moves]),
            shifts=self._shifts,
            busiest_minute_moves=busiest_minute(seconds for seconds, _, _ in self._moves),
            requests=self._requests,
            waits=len(self._wait_spans),
            wait_seconds=sum(self._wait_spans),
            longest_wait_seconds=max(self._wait_spans, default=0.0),
            refused_requests=self._refused,
            denials=self._denials,
            denied_seconds=self._denied_seconds,
            directives=self._directives,
            trims=self._trimmed,
            predictions=predictions,
            prediction_hits=hits,
            points=tuple(thinned(self._points)),
        )
