"""Looks after the engine's process: starts it, listens to it, kills it when it hangs, and starts it again.

What to do about a death is decided in `restarts`, whether it hangs in `watchdog`; here both are carried out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import structlog

from tts_service.engine_process import watchdog
from tts_service.engine_process.child import EngineChild
from tts_service.engine_process.frames import BadFrameError
from tts_service.engine_process.messages import Begin, CannotStart, End, Pulse, Ready, WriteTrace
from tts_service.engine_process.remote_speech import EngineWord, RemoteSpeech
from tts_service.engine_process.restarts import Deaths, GiveUp, RestartLimits, died
from tts_service.engine_process.values import BadValueError
from tts_service.errors import StartupError
from tts_service.spans import NO_SPANS, SpanLog

REAP_SECONDS: Final = 30.0
"""How long a killed process may take to be gone: a driver first takes back what it had of a device."""

OWN_END_SECONDS: Final = 0.25
"""How long one that has gone from its channel may take to end: killed at once, its own status would not be known."""

END_SECONDS: Final = 20.0
"""How long an engine that is told to end may take."""

ENGINE: Final = "engine"
"""The row of a trace that tells of engines' lives."""

_log = structlog.get_logger(__name__)


class EngineWatch(Protocol):
    """Who hears, in the event loop, of engines that come and go."""

    def came(self, ready: Ready) -> Awaitable[None]:
        """Hear of one that speaks. Raises StartupError if it is not what it was before."""
        ...

    def went(self) -> Awaitable[None]:
        """Hear that it has gone; another one is on its way."""
        ...


class Supervisor:
    """Keeps an engine running for as long as `run` does. `start` starts one, and returns what it is told first."""

    def __init__(
        self,
        start: Callable[[], Awaitable[tuple[EngineChild, Begin]]],
        speech: RemoteSpeech,
        watch: EngineWatch,
        *,
        limits: RestartLimits,
        hang_seconds: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        spans: SpanLog = NO_SPANS,
    ) -> None:
        self.restarts = 0
        self._start = start
        self._speech = speech
        self._watch = watch
        self._limits = limits
        self._hang_seconds = hang_seconds
        self._clock = clock
        self._sleep = sleep
        self._spans = spans
        self._child: EngineChild | None = None
        self._vigil = watchdog.begun(clock())
        self._deaths = Deaths()
        self._end = asyncio.Event()
        self._ready_once = False
        self._began_at = clock()
        self._start_seconds = 0.0
        self._refusal = ""

    @property
    def retry_seconds(self) -> float:
        """How long it may take until there is an engine, by how long the last one took."""
        return max(0.5, self._began_at + self._start_seconds - self._clock())

    @property
    def start_seconds(self) -> float:
        """How long the last start took."""
        return self._start_seconds

    @property
    def pid(self) -> int | None:
        """The process id of the engine, None while there is none."""
        return None if self._child is None else self._child.pid

    def write_trace(self) -> bool:
        """Have the engine write where time went; tell whether there is one that will say when it has."""
        if self._child is None:
            return False
        self._child.channel.say(WriteTrace())
        return True

    async def run(self) -> None:
        """Start engines, one after the other, until told to end. Raises StartupError if that makes no sense."""
        while not self._end.is_set():
            self._began_at = self._clock()
            child, begin = await self._start()
            if self._end.is_set():
                child.kill()
            self._child = child
            _log.info("engine_started", pid=child.pid)
            try:
                await self._through(child, begin)
            except BaseException:
                child.kill()
                raise
            finally:
                self._child = None
            if not self._end.is_set():
                await self._after(child)

    async def end(self) -> None:
        """Have the engine stop in good order, or else kill it; `run` returns then."""
        self._end.set()
        child = self._child
        if child is None:
            return
        child.channel.say(End())
        if await child.wait(END_SECONDS) is None:
            _log.warning("engine_killed", pid=child.pid, reason="it did not end when told to")
            child.kill()
            await child.wait(REAP_SECONDS)

    # --- one engine's life --------------------------------------------------------------------------------------

    async def _through(self, child: EngineChild, begin: Begin) -> None:
        """Listen to an engine until it has gone."""
        self._vigil = watchdog.begun(self._clock())
        child.channel.say(begin)
        guard = asyncio.create_task(self._guard(child))
        try:
            while (words := await self._heard(child)) is not None:
                await self._take(child, words)
        finally:
            guard.cancel()
            self._began_at = self._clock()
            if not self._end.is_set():
                child.channel.hang_up()  # One that lives and does not read would hold up what waits to be written.
                await self._watch.went()
            self._speech.detach()
            await child.channel.close()

    async def _heard(self, child: EngineChild) -> Sequence[EngineWord] | None:
        try:
            return await child.channel.heard()
        except (BadFrameError, BadValueError) as error:
            _log.error("engine_speaks_nonsense", pid=child.pid, error=str(error))
            return None

    async def _take(self, child: EngineChild, words: Sequence[Any]) -> None:
        now = self._clock()
        pulse = next((each for each in reversed(words) if isinstance(each, Pulse)), None)
        step_seconds = self._vigil.step_seconds if pulse is None else pulse.step_seconds
        self._vigil = watchdog.heard(self._vigil, step_seconds, now)
        self._speech.take(words)
        for word in words:
            if isinstance(word, Ready):
                await self._came_up(child, word)
            elif isinstance(word, CannotStart):
                self._refusal = word.message
                if not self._ready_once:
                    raise StartupError(word.message)

    async def _came_up(self, child: EngineChild, ready: Ready) -> None:
        self._vigil = watchdog.came_up(self._vigil)
        self._start_seconds = self._clock() - self._began_at
        self._spans.began("start", on=ENGINE, begin_seconds=self._began_at)
        self._speech.attach(child.channel)
        self._ready_once = True
        _log.info("engine_ready", pid=child.pid, seconds=round(self._start_seconds, 2))
        await self._watch.came(ready)

    async def _guard(self, child: EngineChild) -> None:
        """Kill the engine when it hangs."""
        while True:
            await asyncio.sleep(watchdog.LOOK_SECONDS)
            self._vigil, why = watchdog.looked(self._vigil, self._hang_seconds, self._clock())
            if why is not None:
                _log.error("engine_hangs", pid=child.pid, reason=why)
                child.kill()
                child.channel.hang_up()  # A driver may hold a killed process for seconds; nobody waits for that.
                return

    async def _after(self, child: EngineChild) -> None:
        """See a dead engine off, and wait until it is time for the next. Raises StartupError if none makes sense."""
        self._deaths, next_step = died(self._deaths, self._limits, self._clock())
        status = await child.wait(OWN_END_SECONDS)
        if status is None:
            child.kill()
            status = await child.wait(REAP_SECONDS)
        self._spans.moment("death", on=ENGINE, status=str(status))
        _log.error("engine_died", pid=child.pid, status=status, deaths=len(self._deaths.at_seconds))
        if isinstance(next_step, GiveUp):
            why = f" ({self._refusal})" if self._refusal else ""
            message = f"the engine died {next_step.deaths} times within {self._limits.window_seconds:g} s{why}"
            raise StartupError(f"{message}; the log says how")
        self.restarts += 1
        await self._rest(next_step.wait_seconds)

    async def _rest(self, seconds: float) -> None:
        """Wait, unless this is told to end."""
        waits = [asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._end.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def __repr__(self) -> str:
        return f"<Supervisor of {self._child!r} | {self.restarts} restarts>"
