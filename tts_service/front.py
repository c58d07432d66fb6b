"""The front end of a service whose engine is another process: sessions, pacing, coding, admission, metrics, health.

The composition root where `service` is not. It needs no torch, so that it is up at once, and a start of the engine
costs it nothing. It keeps the lock of the control socket, which the engine serves, over all engines' lives.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import structlog

from tts_service.admission_parts import admissions_of, speech_load
from tts_service.api.admissions import Admissions
from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService
from tts_service.api.speech_load import SpeechLoad
from tts_service.api.speech_watch import Watches
from tts_service.config import ServiceConfig
from tts_service.control_socket import ControlSocket, default_control_socket
from tts_service.engine_process.child import EngineChild, LentDescriptors
from tts_service.engine_process.coded_events import CODING_THREADS
from tts_service.engine_process.configuration import written_config
from tts_service.engine_process.engine_starts import EngineStarts
from tts_service.engine_process.first_of import first_of
from tts_service.engine_process.gathered_call import GatheredCall
from tts_service.engine_process.joined_trace import JoinedTrace
from tts_service.engine_process.master_shelf import MasterShelf
from tts_service.engine_process.messages import Begin, Ready
from tts_service.engine_process.remote_speech import RemoteSpeech
from tts_service.engine_process.report_sums import ReportSums
from tts_service.engine_process.restarts import RestartLimits
from tts_service.engine_process.spare import wanted_imports
from tts_service.engine_process.supervisor import Supervisor
from tts_service.errors import StartupError
from tts_service.event_log import progress_console
from tts_service.late_counts import LateCounts
from tts_service.load_progress import LoadProgress, shown_progress
from tts_service.metrics import Metrics
from tts_service.process_settings import freeze_imports
from tts_service.residency.situation import Move
from tts_service.residency.types import ResidencyReport
from tts_service.scheduling.utilisation import Part
from tts_service.server import SpeechServer, watch_activity
from tts_service.service_manager import ServiceManager, manager_in
from tts_service.settings_listing import EffectiveSetting
from tts_service.speech.session_config import ModelFacts, Offer
from tts_service.speech_parts import SpeechParts, speech_service
from tts_service.types import ModuleName
from tts_service.version import VERSION

log = structlog.get_logger(__name__)


class Front:
    """All parts of the front end, started and stopped in order. It hears what engines tell, come and go.

    The address and the control socket's lock are taken first. Health is green while an engine speaks.
    """

    def __init__(
        self, config: ServiceConfig, settings: tuple[EffectiveSetting, ...] = (), *, manager: ServiceManager
    ) -> None:
        self._config = config
        self._settings = settings
        self._manager = manager
        self._shelf = MasterShelf()
        self._starts = EngineStarts(spare=config.engine.spare, clock=time.monotonic)
        self._progress = LoadProgress()
        self._trace = JoinedTrace(config.trace_file, clock=time.monotonic)
        self._tell_stage: tuple[str, Callable[[int, int], None]] | None = None
        self._sums = ReportSums()
        self._late, self._broken = LateCounts(), tuple[ModuleName, ...]()
        self._models: tuple[ModelFacts, ...] | None = None
        self._load: SpeechLoad | None = None
        self._admissions: Admissions | None = None
        self._came = asyncio.Event()
        # All that comes and goes in a flood of calls is told of only now and then.
        self._activity = GatheredCall(self._tell_activity)
        self.sessions = Sessions(
            limit=config.limits.sessions, clock=time.monotonic, on_change=lambda _count: self._activity.soon()
        )
        self.server = SpeechServer(
            sessions=self.sessions, address=config.speech_address, clock=time.monotonic, obstacle=self._progress.text
        )
        self._metrics = Metrics(
            config, version=VERSION, is_serving=lambda: self.server.serving, processes=self._processes
        )
        self._socket = ControlSocket(config.control_socket or default_control_socket(config.name))
        self._coders = ThreadPoolExecutor(CODING_THREADS, thread_name_prefix="coding")
        self.speech = RemoteSpeech(
            self,
            retry_seconds=lambda: self.supervisor.retry_seconds,
            loop=asyncio.get_running_loop(),
            spans=self._trace.spans,
            coders=self._coders,
        )
        self.supervisor = Supervisor(
            self._start_engine,
            self.speech,
            self,
            limits=RestartLimits(
                most_deaths=config.engine.most_deaths, window_seconds=config.engine.death_window_seconds
            ),
            hang_seconds=config.engine.hang_seconds,
            clock=time.monotonic,
            spans=self._trace.spans,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Start, serve until told to stop, drain, stop. Raises StartupError, also when the engine dies too often."""
        began = time.monotonic()
        with ExitStack() as stack:
            self.server.bind()
            self._socket.take()
            stack.callback(self._socket.release)
            stack.callback(self._shelf.close)
            self._trace.begin()
            stack.callback(self._trace.end)
            stack.callback(self._coders.shutdown, cancel_futures=True)
            supervising = asyncio.create_task(self.supervisor.run())
            stack.enter_context(self._metrics.served())
            await self.server.start()
            alive = asyncio.create_task(watch_activity(self._tell_alive, period_seconds=self._manager.turn_seconds))
            try:
                with shown_progress(progress_console(self._config), clock=time.monotonic) as show:
                    self._progress.show_with(show)
                    if not await first_of(self._came, stop, supervising):
                        log.info("ended_while_starting")
                        return
                log.info("ready", speech=self.server.address, seconds=round(time.monotonic() - began, 2))
                self._manager.ready()
                await first_of(stop, stop, supervising)
            finally:
                self._manager.stopping()
                await self.server.drain(self._config.drain_grace_seconds)
                await self._starts.end()
                await self.supervisor.end()
                await asyncio.gather(supervising, return_exceptions=True)
                alive.cancel()

    async def _start_engine(self) -> tuple[EngineChild, Begin]:
        """Start an engine with all that is kept for it."""
        with self._shelf.listen() as line:
            kept = self._shelf.kept
            lent = LentDescriptors(
                lock=self._socket.lock_descriptor,
                shelf=line.fileno(),
                masters=tuple(each.descriptor for each in kept),
            )
            child = await self._starts.engine(lent)
        return child, Begin(config=written_config(self._config), settings=self._settings, masters=kept)

    # --- engines come and go ------------------------------------------------------------------------------------

    async def came(self, ready: Ready) -> None:
        """Open the door, or open it again. Raises StartupError if another engine speaks than before."""
        self._metrics.engine.came(self.supervisor.start_seconds)
        if self._models is None:
            self._models = ready.models
            freeze_imports()
            await self.server.open(self._service(ready))
            imports = wanted_imports([model.id for model in ready.models], on_gpu=ready.on_gpu)
            self._starts.keep_ready(imports, idle=lambda: not self.sessions.count)
        elif self._models != ready.models:
            message = "the engine came back with other models than before: its weights have changed; start again"
            raise StartupError(message)
        elif self.sessions.drain_deadline is None:
            self.server.admit()
            await self.server.set_serving(serving=True)
        self._activity.now()
        self._came.set()

    async def went(self) -> None:
        """Shut the door until there is an engine again."""
        self._metrics.engine.restarted()
        self._sums.went()
        self._late, self._broken = LateCounts(), ()  # They were that engine's.
        if self._models is not None and self.sessions.drain_deadline is None:
            self.server.refuse(self.speech.restarting)
            await self.server.set_serving(serving=False)

    def _service(self, ready: Ready) -> SpeechService:
        metrics = self._metrics
        load = speech_load(self._config, on_gpu=ready.on_gpu, models=[model.id for model in ready.models])
        admissions = admissions_of(self._config, self.sessions, load, metrics.admission)
        metrics.admission.watch(waiting=lambda: admissions.waiting, busy=lambda part: load.known.busy.get(part, 0.0))
        metrics.watch(lambda: self._sums.report, [model.id for model in ready.models])
        metrics.watch_late(lambda: self._late)
        metrics.engine.watch(lambda: self._starts.is_prepared)
        self._load, self._admissions = load, admissions
        parts = SpeechParts(
            engine=self.speech,
            offer=Offer(models=ready.models, voices=self.speech.voices),
            searches=self.speech.calls,
            makes=self.speech.calls if ready.makes_voices else None,
        )
        return speech_service(
            self._config,
            parts,
            version=VERSION,
            sessions=self.sessions,
            admissions=admissions,
            watch=Watches(metrics.speech, load),
        )

    # --- what the engine tells ----------------------------------------------------------------------------------

    def loading(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """Tell how far the start is."""
        if self._models is not None:
            return
        if self._tell_stage is None or self._tell_stage[0] != stage:
            self._tell_stage = (stage, self._progress.stage(stage))
        self._tell_stage[1](done_bytes, total_bytes)

    def stepped(self, modules: frozenset[ModuleName], seconds: float) -> None:
        """Count a step."""
        self._metrics.speech.stepped(modules, seconds)
        if self._load is not None:
            self._load.stepped(modules, seconds)

    def ran(self, part: Part, seconds: float, expected_seconds: float) -> None:
        """Count a part's runs."""
        if self._load is not None:
            self._load.ran(part, seconds, expected_seconds)

    def moved(self, move: Move, moved_bytes: int, seconds: float) -> None:
        """Count a move."""
        self._metrics.moves.moved(move, moved_bytes, seconds)

    def reported(self, report: ResidencyReport, broken: tuple[ModuleName, ...], late: LateCounts) -> None:
        """Keep what is, and let health follow the modules."""
        self._sums.reported(report)
        self._late = late
        if bool(broken) is not bool(self._broken) and self.sessions.drain_deadline is None:
            if broken:
                log.error("health_red", broken=sorted(broken))
            else:
                log.info("health_green")
            self._health = asyncio.ensure_future(self.server.set_serving(serving=not broken))
        self._broken = broken

    def traced(self) -> None:
        """Write the trace with what the engine has written; in a thread, because a busy disk would hold up all."""
        asyncio.get_running_loop().run_in_executor(None, self._trace.write)

    def write_trace(self) -> None:
        """Have the trace of both processes written."""
        if not self.supervisor.write_trace():
            self.traced()

    # --- what is told of the service ----------------------------------------------------------------------------

    def _processes(self) -> tuple[int, ...]:
        """Those beside this one; for any thread."""
        spare = self._starts.spare
        found = (self.supervisor.pid, None if spare is None else spare.pid)
        return tuple(pid for pid in found if pid is not None)

    def _tell_alive(self) -> None:
        self._manager.alive(self._words())
        self._activity.now()

    def _words(self) -> str:
        """How it stands, in one line for people."""
        count = self.sessions.count
        sessions = f"{count} session{'' if count == 1 else 's'}"
        if self.sessions.drain_deadline is not None:
            return f"draining, {sessions}"
        if self._models is None:
            return self._progress.text()
        if self.server.serving:
            return sessions
        return f"a module is broken, {sessions}" if self._broken else f"the engine is started again, {sessions}"

    def _tell_activity(self) -> None:
        if self._admissions is not None:
            self._admissions.look()
        self.speech.active(sessions=self.sessions.count, queued=self.sessions.queued)

    def __repr__(self) -> str:
        return f"<Front {self._words()} | {self.supervisor!r}>"


async def run_front(config: ServiceConfig, settings: tuple[EffectiveSetting, ...]) -> None:
    """Run a front end, and the engine beside it, until a signal comes. Raises StartupError."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    front = Front(config, settings, manager=manager_in(os.environ, time.monotonic))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, front.write_trace)
    await front.run(stop)
