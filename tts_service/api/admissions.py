"""The door to speech: who asks is let in, waits in a queue, or is told when to come back.

Who is let in is decided in `scheduling.admission`; here its word is carried out, all in the event loop. A refusal
waits for nothing. A place in the queue belongs to the call that waits in it: when that ends, however, it is free.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, assert_never

from tts_service.api.callers import Caller
from tts_service.api.sessions import Sessions
from tts_service.errors import Reason, ServiceError
from tts_service.scheduling.admission import AdmissionLimits, Door, asked, left, looked_at, positions, wakes_at
from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.utilisation import Company
from tts_service.scheduling.verdicts import Admitted, Applicant, Queued, Refusal, Refused
from tts_service.types import Priority

LOOK_SECONDS: Final = 0.1
"""How often the queue is looked at while somebody waits in it."""

TellQueued = Callable[[Queued], Awaitable[None]]


class Measure(Protocol):
    """Who knows how the machine stands."""

    def standing(self, company: Company) -> Standing:
        """Return how it stands with this company."""
        ...

    def joined(self) -> None:
        """Hear of a paced interactive session that was let in."""
        ...


class AdmissionWatch(Protocol):
    """Who hears of what the door says; must be quick."""

    def admitted(self, priority: Priority, *, waited_seconds: float) -> None:
        """Hear of a session that was let in, after so long in the queue."""

    def queued(self, priority: Priority) -> None:
        """Hear of one that begins to wait."""

    def refused(self, priority: Priority, refused: Refused) -> None:
        """Hear of one that was sent away."""


class Unmeasured:
    """Knows of no costs: sessions are let in by their number alone."""

    def standing(self, company: Company) -> Standing:
        """Return that there is room."""
        del company
        return Standing(load=0.0, load_with_one=1e-9, first_audio_seconds=0.0)

    def joined(self) -> None:
        """Let it pass."""

    def __repr__(self) -> str:
        return "<Unmeasured>"


class Unheard:
    """Hears nothing."""

    def admitted(self, priority: Priority, *, waited_seconds: float) -> None:
        """Let it pass."""

    def queued(self, priority: Priority) -> None:
        """Let it pass."""

    def refused(self, priority: Priority, refused: Refused) -> None:
        """Let it pass."""

    def __repr__(self) -> str:
        return "<Unheard>"


@dataclass(slots=True, kw_only=True)
class _Call:
    """A call that asked: where it waits, and what it was told in the end."""

    caller: Caller
    asked_at: float
    place: Queued | None = None
    end: Admitted | Refused | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Admissions:
    """The door. `watch` hears what it says; `sessions` counts who is inside and knows of a drain."""

    def __init__(
        self,
        sessions: Sessions,
        limits: AdmissionLimits,
        *,
        clock: Callable[[], float],
        measure: Measure | None = None,
        watch: AdmissionWatch | None = None,
    ) -> None:
        self.limits = limits
        self._sessions = sessions
        self._clock = clock
        self._measure = Unmeasured() if measure is None else measure
        self._watch = Unheard() if watch is None else watch
        self._door = Door()
        self._keys = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._company = Company()
        self._company_at = clock()
        self._stood: Standing | None = None
        self._stood_at = clock()
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Hold a stream that has not said yet what it wants. Raises DRAINING, or AT_CAPACITY if none could come in."""
        self._sessions.check_draining()
        if len(self._door.guests.by_key) >= self.limits.sessions:
            self._refuse_all()
        with self._sessions.opening(most=self.limits.sessions + self.limits.queue):
            yield

    @contextlib.asynccontextmanager
    async def admitted(self, caller: Caller, tell: TellQueued) -> AsyncIterator[None]:
        """Be inside for the length of a block, after waiting if need be; `tell` hears of each new position.

        Raises ServiceError AT_CAPACITY, QUEUE_TIMEOUT or DRAINING.
        """
        self._sessions.check_draining()
        key = next(self._keys)
        call = self._calls[key] = _Call(caller=caller, asked_at=self._clock())
        try:
            self._ask(key, call)
            if call.end is None:
                self._watch.queued(caller.priority)
                await self._sessions.unless_draining(_until_end(call, tell))
            self._enter(call)
            with self._sessions.place():
                yield
        finally:
            self._leave(key, call)

    @property
    def waiting(self) -> int:
        """How many wait in the queue."""
        return len(self._door.queue)

    # --- one call -----------------------------------------------------------------------------------------------

    def _ask(self, key: int, call: _Call) -> None:
        now = self._clock()
        self._door, verdict = asked(self._door, _applicant(key, call.caller), self._standing(now), self.limits, now)
        if isinstance(verdict, Queued):
            call.place = self._told(verdict)
            self._wake_later(now)
        else:
            self._end(call, verdict)

    def _enter(self, call: _Call) -> None:
        """Raise what a refused call is told."""
        if isinstance(call.end, Refused):
            self._watch.refused(call.caller.priority, call.end)
            raise self._error(call.end)
        self._watch.admitted(call.caller.priority, waited_seconds=self._clock() - call.asked_at)

    def _leave(self, key: int, call: _Call) -> None:
        del self._calls[key]
        if isinstance(call.end, Admitted):
            self._count(call.caller, -1)
        self._door = left(self._door, key, self._clock())
        if self._door.queue:
            self._look()

    def _end(self, call: _Call, verdict: Admitted | Refused) -> None:
        call.end = verdict
        call.changed.set()
        if isinstance(verdict, Admitted):
            self._count(call.caller, 1)
            if call.caller.is_paced and call.caller.priority is Priority.INTERACTIVE:
                self._measure.joined()

    def _count(self, caller: Caller, change: int) -> None:
        if caller.priority is Priority.INTERACTIVE:
            paced, unpaced = (change, 0) if caller.is_paced else (0, change)
            here = self._company
            self._company = replace(here, paced=here.paced + paced, unpaced=here.unpaced + unpaced)

    # --- all of them --------------------------------------------------------------------------------------------

    def _standing(self, now: float) -> Standing:
        # All sessions are asked for it, so that a flood of calls must not have it done for each.
        if now - self._company_at >= LOOK_SECONDS:
            self._company_at = now
            self._company = replace(self._company, beginning=self._sessions.beginning)
        self._stood_at, self._stood = now, self._measure.standing(self._company)
        return self._stood

    def _recent_standing(self, now: float) -> Standing:
        """Return how it stood lately: what a flood of calls is told need not be reckoned anew for each."""
        return self._stood if self._stood is not None and now - self._stood_at < LOOK_SECONDS else self._standing(now)

    def look(self) -> None:
        """Look at the queue, now and then: measurements change it as well."""
        self._standing(self._clock())
        if self._door.queue:
            self._look()

    def _look(self) -> None:
        now, let_in = self._clock(), True
        while let_in:
            self._door, said = looked_at(self._door, self._standing(now), self.limits, now)
            for verdict in said:
                self._end(self._calls[verdict.key], verdict)
            let_in = any(isinstance(verdict, Admitted) for verdict in said)
        for place in positions(self._door, self._standing(now), self.limits):
            call = self._calls[place.key]
            if call.place is None or call.place.position != place.position:
                call.place = self._told(place)
                call.changed.set()
        self._wake_later(now)

    def _wake_later(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._door.queue:
            until = wakes_at(self._door, self._standing(now), self.limits) - now
            wait_seconds = min(LOOK_SECONDS, max(0.001, until))
            self._timer = asyncio.get_running_loop().call_later(wait_seconds, self._look)

    def _told(self, place: Queued) -> Queued:
        """Return what one who waits is told: nobody waits for longer than the queue lets it."""
        return replace(place, wait_seconds=min(place.wait_seconds, self.limits.queue_seconds))

    def _refuse_all(self) -> None:
        """Refuse a call that has not said yet what it wants, if it would be refused whatever it is."""
        now, key = self._clock(), next(self._keys)
        standing = self._recent_standing(now)
        verdicts = []
        for priority in (Priority.BULK, Priority.INTERACTIVE):
            applicant = Applicant(key=key, client="", priority=priority)
            door, verdict = asked(self._door, applicant, standing, self.limits, now)
            verdicts.append(verdict)
        told = verdicts[-1]
        if isinstance(told, Refused) and all(isinstance(verdict, Refused) for verdict in verdicts):
            self._door = door
            self._watch.refused(Priority.INTERACTIVE, told)
            raise self._error(told)

    def _error(self, refused: Refused) -> ServiceError:
        limits, here = self.limits, len(self._door.guests.by_key)
        reason = Reason.AT_CAPACITY
        match refused.refusal:
            case Refusal.FULL:
                message = f"there is no room beside {here} sessions, and {self.waiting} wait already"
            case Refusal.CLIENT:
                message = f"this client has all the {limits.client_sessions} sessions that one may have"
            case Refusal.DEADLINE:
                reason, message = Reason.QUEUE_TIMEOUT, "nothing could be heard before the call's deadline"
            case _:
                assert_never(refused.refusal)
        metadata = {"refusal": refused.refusal.value}
        return ServiceError(reason, message, metadata=metadata, retry_after_seconds=refused.retry_after_seconds)

    def __repr__(self) -> str:
        shut = " shut" if self._door.shut else ""
        return f"<Admissions{shut} | {len(self._door.guests.by_key)} in, {self.waiting} wait | {self._measure!r}>"


async def _until_end(call: _Call, tell: TellQueued) -> None:
    """Tell a call where it stands until it has been let in or refused."""
    while call.end is None:
        assert call.place is not None
        call.changed.clear()
        await tell(call.place)
        await call.changed.wait()


def _applicant(key: int, caller: Caller) -> Applicant:
    return Applicant(key=key, client=caller.client, priority=caller.priority, deadline=caller.deadline)
