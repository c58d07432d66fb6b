"""A door of speech with a machine whose standing is set by hand, and calls that remember what they were told."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tts_service.api.admissions import Admissions
from tts_service.api.callers import Caller
from tts_service.api.sessions import Sessions
from tts_service.errors import ServiceError
from tts_service.scheduling.admission import AdmissionLimits
from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.utilisation import Company
from tts_service.scheduling.verdicts import Queued, Refused
from tts_service.types import Priority


class SetMachine:
    """Each interactive session takes `one` of it."""

    def __init__(self, *, one: float = 0.01) -> None:
        self.one = one
        self.joins = 0

    def standing(self, company: Company) -> Standing:
        """Return how it stands."""
        here = company.paced + company.unpaced
        return Standing(load=here * self.one, load_with_one=(here + 1) * self.one, first_audio_seconds=0.2)

    def joined(self) -> None:
        """Count."""
        self.joins += 1


@dataclass(slots=True, kw_only=True)
class Heard:
    """Remembers what the door said to all."""

    said: list[str] = field(default_factory=list)

    def admitted(self, priority: Priority, *, waited_seconds: float) -> None:
        """Remember."""
        self.said.append(f"admitted {priority.value}{' after a wait' if waited_seconds > 0.05 else ''}")

    def queued(self, priority: Priority) -> None:
        """Remember."""
        self.said.append(f"queued {priority.value}")

    def refused(self, priority: Priority, refused: Refused) -> None:
        """Remember."""
        self.said.append(f"refused {priority.value} {refused.refusal.value}")


class Visit:
    """A call that comes in, stays until it is told to `go`, and remembers its places in the queue and its refusal."""

    def __init__(self, door: Admissions, caller: Caller) -> None:
        self.places: list[Queued] = []
        self.error: ServiceError | None = None
        self.is_inside = False
        self._left = asyncio.Event()
        self.task = asyncio.create_task(self._run(door, caller))

    async def _run(self, door: Admissions, caller: Caller) -> None:
        try:
            async with door.admitted(caller, self._tell):
                self.is_inside = True
                await self._left.wait()
        except ServiceError as error:
            self.error = error
        finally:
            self.is_inside = False

    async def _tell(self, place: Queued) -> None:
        self.places.append(place)

    async def go(self) -> None:
        """Leave."""
        self._left.set()
        await self.task

    async def vanish(self) -> None:
        """Be cut off, as a call is whose client is gone."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def turned() -> None:
    """Let everything happen that can without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)


class DoorDesk:
    """A door and those who come to it. The queue's clock is the loop's, so that its timers agree with it."""

    def __init__(self, *, one: float = 0.01, **limits: Any) -> None:
        loop = asyncio.get_running_loop()
        self.machine = SetMachine(one=one)
        self.heard = Heard()
        bounds = AdmissionLimits(**{"sessions": 8, "least_retry_seconds": 0.1, **limits})
        self.sessions = Sessions(limit=bounds.sessions, clock=loop.time)
        self.door = Admissions(self.sessions, bounds, clock=loop.time, measure=self.machine, watch=self.heard)
        self._now = loop.time

    async def visit(self, client: str = "x", *, deadline_seconds: float = 1e9, **fields: Any) -> Visit:
        """Have somebody come."""
        deadline = self._now() + deadline_seconds
        visit = Visit(self.door, Caller(client=client, deadline=deadline, **fields))
        await turned()
        return visit

    async def visits(self, count: int, **fields: Any) -> list[Visit]:
        """Have several come, one after the other."""
        return [await self.visit(**fields) for _ in range(count)]

    async def leaves_often(self) -> None:
        """Let the door learn that places come free every few milliseconds, so that it lets calls wait."""
        for _ in range(60):
            await (await self.visit()).go()
        self.heard.said.clear()
        self.machine.joins = 0
