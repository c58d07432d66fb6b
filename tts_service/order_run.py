"""One order on its way through the engine: the lanes of its stages, their turns, and the end of all of it.

Each lane is a coroutine that takes its steps in order. Lanes know of each other only what they hand over: a lane
without a step waits, and holds nothing meanwhile, until a step of another brings it one. What goes wrong in one lane
ends the others, and is raised once.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

from tts_service.abandonment import StepAbandonedError
from tts_service.bell import Bell
from tts_service.engine import Engine
from tts_service.listening import Place
from tts_service.speech.speech_model import Lane, Modules, Stage, all_ended, next_stage
from tts_service.types import ModuleName


class OrderWatch(Protocol):
    """Who hears of an order's steps."""

    def restoring(self, module: ModuleName, expected_seconds: float | None) -> None:
        """Hear, in the event loop, that a module is awaited."""
        ...

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a stage's next step, in a worker's thread."""
        ...


class OrderRun:
    """The steps of one order. Everything but `take` belongs to the event loop."""

    def __init__(self, engine: Engine, watch: OrderWatch, *, cancel: Callable[[], None]) -> None:
        self.stopped = False
        self.may_sound = False
        self.place: Place | None = None
        """Among other orders; None in turns, where whoever has one is alone."""
        self._engine = engine
        self._watch = watch
        self._cancel = cancel
        self._bell = Bell()
        self._waits: list[Callable[[], object]] = []

    def let_sound(self) -> None:
        """Let the lane of sound begin: all before it has been heard out."""
        self.may_sound = True
        self._bell.ring()

    def stop(self) -> None:
        """End every lane: waits at once, steps under way as soon as they can."""
        self.stopped = True
        self._cancel()
        self._stop_waiting()
        self._bell.ring()

    async def until(self, holds: Callable[[], bool]) -> bool:
        """Wait until something holds that steps bring about, or the order is stopped; return whether it holds."""
        await self._bell.wait_for(lambda: self.stopped or holds())
        return not self.stopped

    async def through(
        self, stages: Sequence[Stage], modules: frozenset[ModuleName], *beside: Coroutine[None, None, None]
    ) -> None:
        """Take every step of these stages, all of whose modules are given, in a turn of theirs; run others `beside`."""
        lanes = [self._lane(lane, own) for lane in Lane if (own := [stage for stage in stages if stage.lane is lane])]
        work = [*lanes, *beside]
        try:
            async with self._engine.turn(modules, on_wait=self.on_wait):
                called = self._engine.call(modules)
                try:
                    await self._together(work)
                finally:
                    if called is not None:
                        called.cancel()
        finally:
            for each in work:
                each.close()
            # Tokens that rest for their sound sit nowhere: nobody else would give their slot back.
            self._engine.release(stages)

    async def _lane(self, lane: Lane, stages: Sequence[Stage]) -> None:
        def goes_on() -> bool:
            return all_ended(stages) or next_stage(stages) is not None

        if lane is Lane.SOUND:
            await self.until(lambda: self.may_sound)
        while await self.until(goes_on) and not all_ended(stages):
            await self._engine.advance(lane, stages, self, self.place)

    async def _together(self, work: Sequence[Coroutine[None, None, None]]) -> None:
        if len(work) == 1:
            await work[0]
            return
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if others:
                self.stop()
                await asyncio.wait(others)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        errors = [error for task in (*done, *others) if (error := task.exception()) is not None]
        # What a stop made of the others is no news.
        for error in sorted(errors, key=lambda each: isinstance(each, StepAbandonedError)):
            raise error

    # --- what the engine tells ----------------------------------------------------------------------------------

    def on_restore(self, module: ModuleName, expected_seconds: float | None) -> None:
        """Pass on that a module is awaited."""
        self._watch.restoring(module, expected_seconds)

    def on_wait(self, stop: Callable[[], object]) -> None:
        """Keep what ends a wait."""
        self._waits.append(stop)
        if self.stopped:
            self._stop_waiting()

    def take(self, stage: Stage, leased: Modules) -> None:
        """Take a step, and wake the lanes that waited for it."""
        self._watch.take(stage, leased)
        self._bell.ring()

    def _stop_waiting(self) -> None:
        waits, self._waits = self._waits, []
        for stop in waits:
            stop()

    def __repr__(self) -> str:
        return f"<OrderRun {'stopped' if self.stopped else 'goes on'} | {self._bell!r}>"
