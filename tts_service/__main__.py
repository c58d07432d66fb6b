"""`tts-service`: puts the parts together, runs until it is told to stop, and drains.

The composition root: every other file gets its collaborators from here.
"""

import asyncio
import gc
import importlib.metadata
import os
import signal
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
from rich.console import Console

from tts_service.api.module_health import ModuleHealth
from tts_service.api.residency import ControlLimits, ResidencyServicer, ServiceIdentity
from tts_service.api.sessions import Sessions
from tts_service.assembly import Executors, engine_of, residency_of, speech_service, warn_of_budget, workers_for
from tts_service.config import ModelChoice, ServiceConfig, load_config
from tts_service.control_server import ControlServer
from tts_service.control_socket import ControlSocket, default_control_socket
from tts_service.engine_parts import EngineParts
from tts_service.engines import engine_parts
from tts_service.errors import StartupError
from tts_service.event_log import configure_logging
from tts_service.load_progress import LoadProgress, StartEndedError, shown_progress
from tts_service.loading_thread import run_loading
from tts_service.machine import devices_of, fix_kernels, settle_libraries
from tts_service.residency.governance import Governance
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import ModuleState
from tts_service.server import SpeechServer, watch_activity
from tts_service.settings_listing import EffectiveSetting, assigned_settings, effective_settings, merged, settings_help

VERSION = importlib.metadata.version("greenroom")
STARTUP_FAILED = 1
BAD_SETTINGS = 2

log = structlog.get_logger(__name__)
app = typer.Typer(
    add_completion=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
)


class Service:
    """All parts of the service, started and stopped in order.

    The address and the control socket are taken first. Then the engine is chosen and its modules are loaded, while
    health says NOT_SERVING, speech calls are told to come back and control answers. `settings` are the configuration
    as it is told.
    """

    def __init__(self, config: ServiceConfig, settings: tuple[EffectiveSetting, ...] = ()) -> None:
        self._config = config
        self._settings = settings
        self._stack = ExitStack()
        self._memory = ProcessMemory()  # Before any thread: those that are there keep heaps of their own.
        self._health_change: asyncio.Future[None] | None = None
        self._progress = LoadProgress()
        self._residency: ResidencyManager | None = None
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
        self._socket = ControlSocket(config.control_socket or default_control_socket(config.name))

    async def run(self, stop: asyncio.Event) -> None:
        """Start, serve until told to stop, drain, stop."""
        began = time.monotonic()
        with self._stack:
            self.speech.bind()
            self._socket.take()  # A second service must learn at once that it is one.
            self._stack.callback(self._socket.release)
            await self.speech.start()
            try:
                with shown_progress(self._console, clock=time.monotonic) as show:
                    self._progress.show_with(show)
                    await self._load(stop)
            except StartEndedError:
                log.info("ended_while_starting")
            else:
                log.info("ready", speech=self.speech.address, seconds=round(time.monotonic() - began, 2))
                await self._serve(stop)
            finally:
                await self.speech.drain(self._config.drain_grace_seconds)

    @property
    def _console(self) -> Console | None:
        """What progress is drawn on: a terminal, unless the log is for machines."""
        console = Console(stderr=True)
        return console if console.is_terminal and self._config.log_format == "console" else None

    async def _load(self, stop: asyncio.Event) -> None:
        """Find the engine, serve control, load the engine's modules, and open the door to speech."""
        progress = self._progress
        parts = await run_loading(lambda: engine_parts(self._config, progress), stop=stop, progress=progress)
        # What imports left would cost every full collection 0.1 s and more, in mid-stream; modules, which come and go,
        # must not be frozen with it.
        gc.collect()
        gc.freeze()
        residency = self._residency = residency_of(self._config, parts, self._memory)
        workers = workers_for(self._config, parts.device)
        self._stack.callback(workers.close)
        self._start_control(residency, parts)
        await run_loading(residency.start, stop=stop, progress=progress)
        warn_of_budget(residency, parts)
        engine = engine_of(self._config, parts, residency, workers)
        await run_loading(lambda: engine.prepare(progress.stage), stop=stop, progress=progress)
        progress.over()
        await self.speech.open(
            speech_service(
                self._config,
                parts,
                engine,
                version=VERSION,
                sessions=self.sessions,
                executors=self._executors,
            )
        )

    async def _serve(self, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        assert self._residency is not None
        health = ModuleHealth(self._broken_modules, self._tell_health)

        def modules_changed() -> None:
            loop.call_soon_threadsafe(health.check)

        self._stack.callback(self._residency.subscribe(modules_changed))
        activity = asyncio.create_task(watch_activity(self._tell_activity))
        await stop.wait()
        activity.cancel()

    def _start_control(self, residency: ResidencyManager, parts: EngineParts) -> None:
        fixed = not self._config.residency.enabled
        governance = Governance(residency=residency, clock=time.monotonic, fixed=fixed)
        identity = ServiceIdentity(
            service_name=self._config.name, instance_id=uuid.uuid4().hex, devices=devices_of(parts.device)
        )
        servicer = ResidencyServicer(
            governance=governance, identity=identity, limits=ControlLimits(), settings=self._settings
        )
        control = ControlServer(socket=self._socket, governance=governance, servicer=servicer)
        for executor in (self._executors.detections, self._executors.voices):
            self._stack.callback(executor.shutdown, wait=True, cancel_futures=True)
        self._stack.callback(control.stop)
        self._stack.callback(residency.close)
        control.start()

    def _tell_activity(self) -> None:
        if self._residency is not None:
            self._residency.set_activity(sessions=self.sessions.count, queued=self.sessions.queued)

    def _broken_modules(self) -> list[str]:
        assert self._residency is not None
        return [m.module for m in self._residency.report().modules if m.state is ModuleState.BROKEN]

    def _tell_health(self, serving: bool) -> None:  # noqa: FBT001  # A callback's only argument.
        if self.sessions.drain_deadline is None:
            self._health_change = asyncio.ensure_future(self.speech.set_serving(serving=serving))


async def run_service(config: ServiceConfig, settings: tuple[EffectiveSetting, ...]) -> None:
    """Run a service until a signal comes. Raises StartupError."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Service(config, settings).run(stop)


@app.command(
    epilog="Examples:\n\n  tts-service\n\n  tts-service --model english --weights synthetic:tiny\n\n"
    "  tts-service --speech-address 127.0.0.1:50100 --log-format json\n\n"
    "  tts-service --set residency.budget_bytes=2000000000 --set residency.rest.t3=host\n\n"
    "  GREENROOM_SERVICE_LIMITS__SESSIONS=8 tts-service --config service.toml\n\n"
    "Exit status: 0 after a drain, 1 if it cannot start, 2 for bad settings."
)
def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file instead of the default one.")] = None,
    name: Annotated[str | None, typer.Option(help="The service's name.")] = None,
    speech_address: Annotated[str | None, typer.Option(help="HOST:PORT for speech; loopback by default.")] = None,
    control_socket: Annotated[Path | None, typer.Option(help="Unix socket for control.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder for what can be made again.")] = None,
    model: Annotated[ModelChoice | None, typer.Option(help="What speaks.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="hub, a folder in upstream's layout, synthetic or synthetic:tiny.")
    ] = None,
    download: Annotated[
        bool | None, typer.Option("--download/--no-download", help="Ask the hub for weights that its cache lacks.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    workers: Annotated[int | None, typer.Option(help="Steps that compute at once.")] = None,
    residency: Annotated[
        bool | None, typer.Option("--residency/--no-residency", help="Let modules move, or keep all at home.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_text: Annotated[bool | None, typer.Option(help="Let spoken text into the log.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting by its name, as residency.budget_bytes=0."),
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="List every setting with its default and variable, and exit.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and exit.")] = False,
) -> None:
    """Serve text-to-speech over gRPC, with modules that leave memory and come back."""
    if version or show_settings:
        typer.echo(VERSION if version else settings_help())
        return
    named = {
        "name": name,
        "speech_address": speech_address,
        "control_socket": control_socket,
        "cache_dir": cache_dir,
        "model": model,
        "weights": weights,
        "download": download,
        "device": device,
        "workers": workers,
        "residency": None if residency is None else {"enabled": residency},
        "log_format": log_format,
        "log_level": log_level,
        "log_text": log_text,
    }
    _serve(config, {key: value for key, value in named.items() if value is not None}, assignments or [])


def _serve(path: Path | None, named: dict[str, Any], assignments: list[str]) -> None:
    """Serve with the settings of a file, of the environment and of flags; those with a name of their own count last."""
    try:
        flags = merged(assigned_settings(assignments), named)
        config = load_config(path, flags)
        settings = effective_settings(config, path, flags, stands_for=_stand_ins(config))
    except StartupError as error:
        typer.echo(f"tts-service: {error}", err=True)
        raise typer.Exit(BAD_SETTINGS) from None
    try:
        configure_logging(config)
        fix_kernels()
        torch.set_num_threads(1)  # Many small steps side by side; one thread each also keeps the bits the same.
        uvloop.run(run_service(config, settings))
    except StartupError as error:
        typer.echo(f"tts-service: {error}", err=True)
        raise typer.Exit(STARTUP_FAILED) from None


def _stand_ins(config: ServiceConfig) -> dict[str, object]:
    """Return what counts in place of settings that are not set."""
    return {
        "control_socket": config.control_socket or default_control_socket(config.name),
        "cache_dir": config.effective_cache_dir,
        "voice_dir": config.effective_voice_dir,
    }


def main() -> None:
    """Run the command."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    settle_libraries(os.environ)
    app()


if __name__ == "__main__":
    main()
