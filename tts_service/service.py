"""The service: puts the parts together, runs until it is told to stop, and drains.

The composition root: every other file gets its collaborators from here.
"""

import asyncio
import gc
import os
import signal
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import structlog

from tts_service.admission_parts import admissions_of, speech_load
from tts_service.api.admissions import Admissions
from tts_service.api.module_health import ModuleHealth
from tts_service.api.residency import ControlLimits, ResidencyServicer, ServiceIdentity
from tts_service.api.sessions import Sessions
from tts_service.api.speech_watch import Watches
from tts_service.assembly import Executors, engine_of, residency_of, speech_parts, warn_of_budget, workers_for
from tts_service.config import ServiceConfig
from tts_service.control_server import ControlServer, tended
from tts_service.control_socket import ControlSocket, default_control_socket
from tts_service.engine_parts import EngineParts
from tts_service.engines import engine_parts
from tts_service.event_log import progress_console
from tts_service.load_progress import LoadProgress, StartEndedError, shown_progress
from tts_service.loading_thread import run_loading
from tts_service.machine import devices_of
from tts_service.metrics import Metrics
from tts_service.residency.governance import Governance
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.process_memory import ProcessMemory
from tts_service.server import SpeechServer, watch_activity
from tts_service.service_manager import ServiceManager, manager_in
from tts_service.settings_listing import EffectiveSetting
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.speech_parts import speech_service
from tts_service.types import ModuleName
from tts_service.version import VERSION

log = structlog.get_logger(__name__)


class Service:
    """All parts of the service, started and stopped in order.

    The address and the control socket are taken first. Then the engine is chosen and its modules are loaded, while
    health says NOT_SERVING, speech calls are told to come back and control answers. `settings` are the configuration
    as it is told.
    """

    def __init__(
        self, config: ServiceConfig, settings: tuple[EffectiveSetting, ...] = (), *, manager: ServiceManager
    ) -> None:
        self._config = config
        self._settings = settings
        self._manager = manager
        self._stack = ExitStack()
        self._memory = ProcessMemory()  # Before any thread: those that are there keep heaps of their own.
        self._health_change: asyncio.Future[None] | None = None
        self._spans = NO_SPANS if config.trace_file is None else SpanLog(time.monotonic)
        self._progress = LoadProgress(self._spans)
        self._residency: ResidencyManager | None = None
        self._control: ControlServer | None = None
        self._loaded = False
        self._admissions: Admissions | None = None
        self.sessions = Sessions(
            limit=config.limits.sessions, clock=time.monotonic, on_change=lambda _count: self._tell_activity()
        )
        self._executors = Executors(
            detections=ThreadPoolExecutor(1, thread_name_prefix="detection"),
            voices=ThreadPoolExecutor(1, thread_name_prefix="voice"),
        )
        self.speech = SpeechServer(
            sessions=self.sessions,
            address=config.speech_address,
            clock=time.monotonic,
            obstacle=self._progress.text,
        )
        self._metrics = Metrics(config, version=VERSION, is_serving=lambda: self.speech.serving)
        self._socket = ControlSocket(config.control_socket or default_control_socket(config.name))

    async def run(self, stop: asyncio.Event, *, on_loaded: Callable[[], None] = lambda: None) -> None:
        """Start, serve until told to stop, drain, stop; `on_loaded` is called when all that is compiled has been."""
        began = time.monotonic()
        self._stack.callback(self.write_trace)
        with self._stack:
            self.speech.bind()
            self._socket.take()  # A second service must learn at once that it is one.
            self._stack.callback(self._socket.release)
            self._stack.enter_context(self._metrics.served())
            await self.speech.start()
            alive = asyncio.create_task(watch_activity(self._tell_alive, period_seconds=self._manager.turn_seconds))
            try:
                with shown_progress(progress_console(self._config), clock=time.monotonic) as show:
                    self._progress.show_with(show)
                    await self._load(stop)
            except StartEndedError:
                log.info("ended_while_starting")
            else:
                on_loaded()
                log.info("ready", speech=self.speech.address, seconds=round(time.monotonic() - began, 2))
                self._loaded = True
                self._manager.ready()
                await self._serve(stop)
            finally:
                self._manager.stopping()
                await self.speech.drain(self._config.drain_grace_seconds)
                alive.cancel()

    async def _load(self, stop: asyncio.Event) -> None:
        """Find the engine, serve control, load the engine's modules, and open the door to speech."""
        progress = self._progress
        parts = await run_loading(lambda: engine_parts(self._config, progress), stop=stop, progress=progress)
        # What imports left would cost every full collection 0.1 s and more, in mid-stream; modules, which come and go,
        # must not be frozen with it.
        gc.collect()
        gc.freeze()
        residency = self._residency = residency_of(
            self._config, parts, self._memory, self._spans, on_move=self._metrics.moves.moved
        )
        workers = workers_for(self._config, parts.device)
        self._stack.callback(workers.close)
        self._start_control(residency, parts)
        await run_loading(residency.start, stop=stop, progress=progress)
        warn_of_budget(residency, parts)
        speech = self._metrics.speech
        load = speech_load(self._config, on_gpu=parts.device.type == "cuda", models=parts.models)
        self._admissions = admissions = admissions_of(self._config, self.sessions, load, self._metrics.admission)
        self._metrics.admission.watch(
            waiting=lambda: admissions.waiting, busy=lambda part: load.known.busy.get(part, 0.0)
        )

        def stepped(modules: frozenset[ModuleName], seconds: float) -> None:
            speech.stepped(modules, seconds)
            load.stepped(modules, seconds)

        engine = engine_of(self._config, parts, residency, workers, self._spans, on_step=stepped, on_run=load.ran)
        self._metrics.watch_late(lambda: engine.late.counts)
        await run_loading(lambda: engine.prepare(progress.stage), stop=stop, progress=progress)
        progress.over()
        await self.speech.open(
            speech_service(
                self._config,
                speech_parts(self._config, parts, engine, self._executors),
                version=VERSION,
                sessions=self.sessions,
                admissions=admissions,
                watch=Watches(speech, load),
            )
        )

    async def _serve(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        assert self._residency is not None
        health = ModuleHealth(self._broken_modules, self._tell_health)

        def modules_changed() -> None:
            if health.differs():
                loop.call_soon_threadsafe(health.check)

        self._stack.callback(self._residency.subscribe(modules_changed))
        assert self._control is not None
        tasks = [asyncio.create_task(one) for one in (watch_activity(self._tell_activity), tended(self._control))]
        await stop.wait()
        for task in tasks:
            task.cancel()

    def _start_control(self, residency: ResidencyManager, parts: EngineParts) -> None:
        fixed = not self._config.residency.enabled
        governance = Governance(residency=residency, clock=time.monotonic, fixed=fixed)
        self._metrics.watch(governance.report, parts.models)
        identity = ServiceIdentity(
            service_name=self._config.name, instance_id=uuid.uuid4().hex, devices=devices_of(parts.device)
        )
        servicer = ResidencyServicer(
            governance=governance, identity=identity, limits=ControlLimits(), settings=self._settings
        )
        self._control = control = ControlServer(socket=self._socket, governance=governance, servicer=servicer)
        for executor in (self._executors.detections, self._executors.voices):
            self._stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        self._stack.callback(control.stop)
        self._stack.callback(residency.close)
        control.start()

    def write_trace(self) -> None:
        """Write where time went, if that is kept; a failure is logged and nothing more."""
        path = self._config.trace_file
        if path is None:
            return
        try:
            log.info("trace_written", path=str(path), spans=self._spans.write(path))
        except OSError as error:
            log.warning("trace_not_written", path=str(path), reason=str(error))

    def _tell_alive(self) -> None:
        self._manager.alive(self._words())

    def _words(self) -> str:
        """How it stands, in one line for people."""
        count = self.sessions.count
        sessions = f"{count} session{'' if count == 1 else 's'}"
        if self.sessions.drain_deadline is not None:
            return f"draining, {sessions}"
        if not self._loaded:
            return self._progress.text()
        return sessions if self.speech.serving else f"a module is broken, {sessions}"

    def _tell_activity(self) -> None:
        if self._admissions is not None:
            self._admissions.look()
        if self._residency is not None:
            self._residency.set_activity(sessions=self.sessions.count, queued=self.sessions.queued)

    def _broken_modules(self) -> list[str]:
        assert self._residency is not None
        return list(self._residency.broken_modules())

    def _tell_health(self, serving: bool) -> None:  # noqa: FBT001  # A callback's only argument.
        if self.sessions.drain_deadline is None:
            self._health_change = asyncio.ensure_future(self.speech.set_serving(serving=serving))


async def run_service(config: ServiceConfig, settings: tuple[EffectiveSetting, ...]) -> None:
    """Run a service until a signal comes. Raises StartupError."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    service = Service(config, settings, manager=manager_in(os.environ, time.monotonic))

    def hear_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        # In a thread: a disk that is busy would hold up every stream.
        loop.add_signal_handler(signal.SIGUSR1, lambda: loop.run_in_executor(None, service.write_trace))

    hear_signals()
    # Again after loading: LLVM, which compiles kernels in this process, takes signals for itself and swallows SIGUSR1.
    await service.run(stop, on_loaded=hear_signals)
