"""`tts-service`: puts the parts together, runs until it is told to stop, and drains.

The composition root: every other file gets its collaborators from here.
"""

import asyncio
import gc
import importlib.metadata
import logging
import os
import signal
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import structlog
import torch
import typer
import uvloop

from tts_service.api.module_health import ModuleHealth
from tts_service.api.residency import ControlLimits, ResidencyServicer, ServiceIdentity
from tts_service.api.sessions import Sessions
from tts_service.api.speech import SpeechService, SpeechSettings
from tts_service.api.watermark_detection import Detection, DetectionLimits
from tts_service.config import ServiceConfig, load_config, settings_help
from tts_service.control_server import ControlServer
from tts_service.control_socket import default_control_socket
from tts_service.engine import Engine
from tts_service.errors import StartupError
from tts_service.models.builtin import HEART
from tts_service.models.catalog import builtin_catalog
from tts_service.residency.governance import Governance
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Device, ModuleState, Tier
from tts_service.server import SpeechServer, watch_activity
from tts_service.speech.session_config import ModelFacts, Offer, VoiceFacts
from tts_service.speech.session_limits import SessionLimits
from tts_service.types import ModuleName

VERSION = importlib.metadata.version("greenroom")
STARTUP_FAILED = 1
BAD_SETTINGS = 2

HOST = Device(device_id="host", tier=Tier.HOST, display_name="host memory")
"""What modules compute in where there is no GPU."""

log = structlog.get_logger(__name__)
app = typer.Typer(
    add_completion=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
)


def builtin_offer() -> Offer:
    """Return what the built-in voice can be asked for."""
    model = ModelFacts(
        id=HEART.model,
        description=HEART.description,
        languages=HEART.languages,
        sample_rate_hertz=HEART.sample_rate_hertz,
        default_voice=HEART.voice_id,
        changes_speaking_rate=True,
    )
    voice = VoiceFacts(
        id=HEART.voice_id,
        display_name=HEART.display_name,
        languages=HEART.languages,
        models=(HEART.model,),
        description=HEART.description,
    )
    return Offer(models=(model,), voices={voice.id: voice})


def configure_logging(config: ServiceConfig) -> None:
    """Send events to standard error, as JSON or for people."""
    renderer: Any = structlog.processors.JSONRenderer()
    if config.log_format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info
            if config.log_format == "json"
            else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.log_level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


class Service:
    """All parts of the service, started and stopped in order."""

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._stack = ExitStack()
        self._health_change: asyncio.Future[None] | None = None
        self.residency = ResidencyManager(
            builtin_catalog(config.effective_cache_dir),
            mover=Mover(memory=ProcessMemory(), clock=time.perf_counter),
            budget_bytes=config.residency.budget_bytes,
            pinned_modules=[ModuleName(name) for name in config.residency.pinned],
            linger_seconds=config.residency.linger_seconds,
            stay_seconds=config.residency.minimum_stay_seconds,
            restore_timeout_seconds=config.residency.restore_timeout_seconds,
        )
        self.sessions = Sessions(
            limit=config.limits.sessions, clock=time.monotonic, on_change=lambda _count: self._tell_activity()
        )
        self._executor = ThreadPoolExecutor(config.workers, thread_name_prefix="step")
        self._detection_executor = ThreadPoolExecutor(1, thread_name_prefix="detection")
        engine = Engine(
            self.residency, self._executor, restore_timeout_seconds=config.residency.restore_timeout_seconds
        )
        self.speech = SpeechServer(
            service=self._speech_service(engine),
            sessions=self.sessions,
            address=config.speech_address,
            clock=time.monotonic,
        )
        self.control = self._control_server()

    def _speech_service(self, engine: Engine) -> SpeechService:
        config, limits = self._config, self._config.limits
        settings = SpeechSettings(
            service_name=config.name,
            version=VERSION,
            limits=SessionLimits(
                utterance_text_bytes=limits.utterance_text_bytes,
                waiting_utterances=limits.waiting_utterances,
                waiting_flushes=limits.waiting_flushes,
                idle_timeout_seconds=limits.idle_timeout_seconds,
            ),
            max_buffer_delay_seconds=limits.max_buffer_delay_seconds,
            max_audio_ahead_seconds=limits.max_audio_ahead_seconds,
            log_text=config.log_text,
        )
        detection_limits = DetectionLimits(
            seconds=limits.detect_seconds, bytes=limits.detect_bytes, upload_seconds=limits.idle_timeout_seconds
        )
        places = Sessions(limit=limits.detections, clock=time.monotonic)
        return SpeechService(
            engine=engine,
            offer=builtin_offer(),
            sessions=self.sessions,
            settings=settings,
            detection=Detection(engine, detection_limits, places=places, executor=self._detection_executor),
            clock=time.monotonic,
        )

    def _control_server(self) -> ControlServer:
        governance = Governance(residency=self.residency, clock=time.monotonic)
        identity = ServiceIdentity(service_name=self._config.name, instance_id=uuid.uuid4().hex, devices=(HOST,))
        servicer = ResidencyServicer(governance=governance, identity=identity, limits=ControlLimits())
        return ControlServer(
            socket_path=self._config.control_socket or default_control_socket(self._config.name),
            governance=governance,
            servicer=servicer,
        )

    def _tell_activity(self) -> None:
        self.residency.set_activity(sessions=self.sessions.count, queued=self.sessions.queued)

    async def run(self) -> None:
        """Start, serve until a signal comes, drain, stop."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        began = time.monotonic()
        gc.freeze()  # What torch's import left would cost every full collection 0.1 s, in mid-stream.
        with self._stack:
            self.speech.bind()
            self._start_residency()
            health = ModuleHealth(self._broken_modules, self._tell_health)

            def modules_changed() -> None:
                loop.call_soon_threadsafe(health.check)

            self._stack.callback(self.residency.subscribe(modules_changed))
            await self.speech.start()
            activity = asyncio.create_task(watch_activity(self._tell_activity))
            log.info(
                "ready",
                speech=self.speech.address,
                control=str(self.control.socket_path),
                model=HEART.model,
                seconds=round(time.monotonic() - began, 2),
                note=HEART.description,
            )
            await stop.wait()
            await self.speech.drain(self._config.drain_grace_seconds)
            activity.cancel()

    def _broken_modules(self) -> list[str]:
        return [m.module for m in self.residency.report().modules if m.state is ModuleState.BROKEN]

    def _tell_health(self, serving: bool) -> None:  # noqa: FBT001  # A callback's only argument.
        if self.sessions.drain_deadline is None:
            self._health_change = asyncio.ensure_future(self.speech.set_serving(serving=serving))

    def _start_residency(self) -> None:
        """Take the socket first: a second service must learn at once that it is one."""
        for executor in (self._executor, self._detection_executor):
            self._stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        self.control.take()
        self._stack.callback(self.control.stop)
        self._stack.callback(self.residency.close)
        self.residency.start()
        self.control.start()


@app.command(
    epilog="Examples:\n\n  tts-service\n\n  tts-service --speech-address 127.0.0.1:50100 --log-format json\n\n"
    "  GREENROOM_SERVICE_LIMITS__SESSIONS=8 tts-service --config service.toml\n\n"
    "Exit status: 0 after a drain, 1 if it cannot start, 2 for bad settings."
)
def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file instead of the default one.")] = None,
    name: Annotated[str | None, typer.Option(help="The service's name.")] = None,
    speech_address: Annotated[str | None, typer.Option(help="HOST:PORT for speech; loopback by default.")] = None,
    control_socket: Annotated[Path | None, typer.Option(help="Unix socket for control.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder for what can be made again.")] = None,
    workers: Annotated[int | None, typer.Option(help="Steps that compute at once.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_text: Annotated[bool | None, typer.Option(help="Let spoken text into the log.")] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="List every setting with its default and variable, and exit.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and exit.")] = False,
) -> None:
    """Serve text-to-speech over gRPC, with modules that leave memory and come back."""
    if version or show_settings:
        typer.echo(VERSION if version else settings_help())
        return
    given = {
        "name": name,
        "speech_address": speech_address,
        "control_socket": control_socket,
        "cache_dir": cache_dir,
        "workers": workers,
        "log_format": log_format,
        "log_level": log_level,
        "log_text": log_text,
    }
    try:
        effective = load_config(config, {key: value for key, value in given.items() if value is not None})
    except StartupError as error:
        typer.echo(f"tts-service: {error}", err=True)
        raise typer.Exit(BAD_SETTINGS) from None
    try:
        configure_logging(effective)
        torch.set_num_threads(1)  # Many small steps side by side; one thread each also keeps the bits the same.
        uvloop.run(Service(effective).run())
    except StartupError as error:
        typer.echo(f"tts-service: {error}", err=True)
        raise typer.Exit(STARTUP_FAILED) from None


def main() -> None:
    """Run the command."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    app()


if __name__ == "__main__":
    main()
