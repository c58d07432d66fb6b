"""The engine's process: puts its parts together, says when it speaks, and does what the front end asks until its end.

Composition root of that process, as `service` is of one that does all.
"""

import asyncio
import gc
import os
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import structlog
import torch

from tts_service.api.residency import ControlLimits, ResidencyServicer, ServiceIdentity
from tts_service.assembly import Executors, engine_of, residency_of, speech_parts, warn_of_budget, workers_for
from tts_service.config import ServiceConfig
from tts_service.control_server import ControlServer, tended
from tts_service.control_socket import ControlSocket, default_control_socket
from tts_service.engine import Engine
from tts_service.engine_parts import EngineParts
from tts_service.engine_process.channel import Channel
from tts_service.engine_process.host_calls import HostCalls
from tts_service.engine_process.host_sessions import HostSessions
from tts_service.engine_process.host_words import HostVoices, HostWords
from tts_service.engine_process.joined_trace import engine_part
from tts_service.engine_process.master_shelf import ShelfLine
from tts_service.engine_process.messages import (
    Active,
    Begin,
    CallForgotten,
    End,
    Loading,
    Ordered,
    Prefetch,
    Ready,
    Rendered,
    SessionEnded,
    TraceWritten,
    WriteTrace,
)
from tts_service.engines import engine_parts
from tts_service.errors import Reason
from tts_service.load_progress import LoadProgress
from tts_service.loading_thread import run_loading
from tts_service.machine import devices_of
from tts_service.models.master_memory import KeptMemories
from tts_service.residency.governance import Governance
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.process_memory import ProcessMemory
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.speech.rendering import RenderFailed
from tts_service.speech_parts import SpeechParts

DEVICE_LOST: Final = 70
"""The status of a process whose device is lost for good: EX_SOFTWARE of sysexits.h."""

CAPTURING: Final = "captur"
"""In every error of CUDA's that says that a capture is under way, or was broken."""

LOADING_SECONDS: Final = 0.1
"""Between two words of how far a stage of the start is."""

_log = structlog.get_logger(__name__)


class EngineHost:
    """The engine of this process, behind a channel.

    `lock` is the control socket's, lent by the front end, which also keeps the modules' host memory on its `shelf`.
    `heard` is what was said right after the word to begin.
    """

    def __init__(
        self,
        config: ServiceConfig,
        begin: Begin,
        channel: Channel,
        *,
        lock: int,
        shelf: ShelfLine,
        heard: Sequence[Any] = (),
    ) -> None:
        self._config = config
        self._begin = begin
        self._channel = channel
        self._heard_before = heard
        self._memories = KeptMemories(begin.masters, keep=shelf.keep, let_go=shelf.let_go)
        self._stack = ExitStack()
        self._memory = ProcessMemory()  # Before any thread: those that are there keep heaps of their own.
        self._spans = NO_SPANS if config.trace_file is None else SpanLog(time.monotonic)
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        path = config.control_socket or default_control_socket(config.name)
        self._socket = ControlSocket(path, lent_lock=lock)
        self._residency: ResidencyManager | None = None
        self._engine: Engine | None = None
        self._sessions: HostSessions | None = None
        self._calls: HostCalls | None = None
        self._device = torch.device("cpu")

    async def run(self, *, on_loaded: Callable[[], None]) -> None:
        """Come up, serve until told to end, and end. Raises StartupError."""
        listening = asyncio.create_task(self._listen())
        words = HostWords(self._channel.say, longest_step=self._longest_step)
        tasks = [listening, asyncio.create_task(words.pulse())]
        try:
            with self._stack:
                self._stack.callback(self.write_trace)
                tasks += await self._load(words)
                on_loaded()
                await self._until_end(tasks)
                await self._close_calls()
        finally:
            for task in tasks:
                task.cancel()

    async def _until_end(self, tasks: Sequence["asyncio.Task[None]"]) -> None:
        """Wait for the word to end. Raises what ends any of these: another engine is worth more than a deaf one."""
        stopped: asyncio.Future[Any] = asyncio.ensure_future(self._stop.wait())
        waiting = {stopped, *tasks}
        try:
            while not self._stop.is_set():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
        finally:
            stopped.cancel()

    # --- coming up ----------------------------------------------------------------------------------------------

    async def _load(self, words: HostWords) -> list[asyncio.Task[None]]:
        """Find the engine, serve control, load the modules, and say that it speaks."""
        progress = LoadProgress(self._spans)
        progress.show_with(self._shower())
        parts = await run_loading(
            lambda: engine_parts(self._config, progress, memories=self._memories), stop=self._stop, progress=progress
        )
        self._device = parts.device
        gc.collect()
        gc.freeze()  # As in `service`: what imports left would cost every full collection 0.1 s and more.
        residency = residency_of(self._config, parts, self._memory, self._spans, on_move=words.moved)
        self._residency = residency
        workers = workers_for(self._config, parts.device)
        self._stack.callback(workers.close)
        governance = Governance(residency=residency, clock=time.monotonic, fixed=not self._config.residency.enabled)
        executors = Executors(
            detections=ThreadPoolExecutor(1, thread_name_prefix="detection"),
            voices=ThreadPoolExecutor(1, thread_name_prefix="voice"),
        )
        for executor in (executors.detections, executors.voices):
            self._stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        control = self._start_control(governance, parts)
        self._stack.callback(residency.close)
        await run_loading(residency.start, stop=self._stop, progress=progress)
        warn_of_budget(residency, parts)
        engine = engine_of(
            self._config, parts, residency, workers, self._spans, on_step=words.stepped, on_run=words.ran
        )
        await run_loading(lambda: engine.prepare(progress.stage), stop=self._stop, progress=progress)
        progress.over()
        voices = self._open(engine, parts, speech_parts(self._config, parts, engine, executors))
        told = words.report(governance.report, residency.broken_modules, lambda: engine.late.counts)
        watches = (told, voices.watch(), tended(control))
        return [asyncio.create_task(each) for each in watches]

    def _open(self, engine: Engine, parts: EngineParts, speech: SpeechParts) -> HostVoices:
        """Take orders and calls from now on, and say so."""
        say = self._channel.say
        voices = HostVoices(parts.offer.voices, None if parts.voices is None else parts.voices.folder, say)
        self._engine = engine
        self._sessions = HostSessions(engine, self._say_rendered)
        self._calls = HostCalls(speech.makes, speech.searches, say, changed=voices.tell)
        say(
            Ready(
                models=parts.offer.models,
                voices=voices.told,
                makes_voices=speech.makes is not None,
                on_gpu=parts.device.type == "cuda",
            )
        )
        return voices

    def _start_control(self, governance: Governance, parts: EngineParts) -> ControlServer:
        identity = ServiceIdentity(
            service_name=self._config.name, instance_id=uuid.uuid4().hex, devices=devices_of(parts.device)
        )
        servicer = ResidencyServicer(
            governance=governance, identity=identity, limits=ControlLimits(), settings=self._begin.settings
        )
        control = ControlServer(socket=self._socket, governance=governance, servicer=servicer)
        self._stack.callback(control.stop)
        control.start()
        return control

    def _shower(self) -> Callable[[str, int, int], None]:
        """Return what says how far the start is, from the threads that load: each stage, and not too often."""
        last: list[Any] = ["", 0.0]

        def show(stage: str, done_bytes: int, total_bytes: int) -> None:
            now = time.monotonic()
            if stage != last[0] or now - last[1] >= LOADING_SECONDS:
                last[:] = [stage, now]
                word = Loading(stage=stage, done_bytes=done_bytes, total_bytes=total_bytes)
                self._loop.call_soon_threadsafe(self._channel.say, word)

        return show

    # --- what the front end says --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Do what is said until the front end has gone, or says that this is to end."""
        try:
            self._take(self._heard_before)
            while (words := await self._channel.heard()) is not None:
                self._take(words)
                # Who does not read what it has ordered is not read from: orders then wait over there.
                await self._channel.drained()
        finally:
            self._stop.set()

    def _take(self, words: Sequence[Any]) -> None:
        for word in words:
            match word:
                case End():
                    self._stop.set()
                case WriteTrace():
                    written = self._loop.run_in_executor(None, self.write_trace)
                    written.add_done_callback(lambda _: self._channel.say(TraceWritten()))
                case _ if self._engine is not None:
                    self._do(self._engine, word)
                case _:
                    pass  # Nothing was opened yet, so nothing can be wanted.

    def _do(self, engine: Engine, word: Any) -> None:
        assert self._sessions is not None
        assert self._calls is not None
        assert self._residency is not None
        match word:
            case Ordered(session=session, order=order):
                self._sessions.submit(session, order)
            case SessionEnded(session=session):
                self._sessions.end(session)
            case Prefetch(model=model):
                engine.prefetch(model)
            case Active(sessions=sessions, queued=queued):
                self._residency.set_activity(sessions=sessions, queued=queued)
            case CallForgotten(call=call):
                self._calls.forget(call)
            case _:
                self._calls.take(word)

    async def _close_calls(self) -> None:
        assert self._sessions is not None
        assert self._calls is not None
        await self._sessions.close()
        await self._calls.close()

    # --- what it says -------------------------------------------------------------------------------------------

    def _say_rendered(self, said: Rendered) -> None:
        self._channel.say(said)
        match said.event:
            case RenderFailed(error=error) if error.reason is Reason.ENGINE_FAULT and self._device.type == "cuda":
                self._loop.run_in_executor(None, self._look_at_device)

    def _look_at_device(self) -> None:
        """End this process if its device is lost: an assert of a kernel's ends the context for good."""
        assert self._engine is not None
        try:
            with self._engine.under_way.taking():
                torch.cuda.synchronize(self._device)
        except RuntimeError as error:
            if CAPTURING in str(error):
                return  # A stream that captures lets nobody wait for the device; that is no fault of the device's.
            _log.critical("device_lost", reason=str(error).splitlines()[0])
            os._exit(DEVICE_LOST)

    def _longest_step(self) -> float | None:
        return None if self._engine is None else self._engine.under_way.longest_seconds

    def write_trace(self) -> None:
        """Write where time went for the front end to join, if that is kept; a failure is logged and nothing more."""
        if self._config.trace_file is None:
            return
        path = engine_part(self._config.trace_file)
        try:
            self._spans.write(path)
        except OSError as error:
            _log.warning("trace_not_written", path=str(path), reason=str(error))

    def __repr__(self) -> str:
        return f"<EngineHost {self._engine!r} {self._sessions!r} {self._calls!r}>"
