"""The flags of the command `memory-daemon`, signals and exit codes; `assembly` puts together what runs."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import structlog
import typer

from memory_daemon.assembly import assemble, installed_version
from memory_daemon.config import ConfigError, load_config
from memory_daemon.errors import StartupError
from memory_daemon.logs import configure_logs
from memory_daemon.loop import Wakeup
from memory_daemon.metrics import Metrics
from memory_daemon.reload import hangups_wait
from memory_daemon.settings_listing import settings_help

EXIT_FAILED = 1
EXIT_MISUSED = 2

_log = structlog.get_logger(__name__)

_HELP = """Watch memory, and govern which modules of tts-service may stay in it.

It dials every service in the services folder, sends directives, and answers operators on the policy socket (memctl).
It needs no GPU and no torch. Services do not need it: when it ends, its directives expire.

Settings come from a TOML file, under GREENROOM_DAEMON_* variables, under these flags; what was tuned while a daemon
ran wins over all of them.

Examples:

\b
  memory-daemon
  memory-daemon --profile neighbour-first --low 4GiB
  memory-daemon --critical 512MB --low 2GiB --high 3GiB
  memory-daemon --memory host --cgroup-root /sys/fs/cgroup --low 10% --high 20%
  memory-daemon --dry-run --log-format json
  GREENROOM_DAEMON_POLICY__GRACE_SECONDS=3 memory-daemon
  memory-daemon --show-settings

Exit codes: 0 stopped by a signal, 1 could not start, 2 wrong settings.
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
def command(
    *,
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    services_dir: Annotated[Path | None, typer.Option(help="Folder of services' sockets.")] = None,
    socket: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Socket of a service elsewhere; may be repeated.")
    ] = None,
    policy_socket: Annotated[Path | None, typer.Option(help="Where operators dial.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder for name, policy, overrides and journal.")] = None,
    memory: Annotated[str | None, typer.Option(help="What is watched: auto, host or gpu.")] = None,
    cgroup_root: Annotated[Path | None, typer.Option(help="A cgroup v2 folder whose limits count.")] = None,
    profile: Annotated[str | None, typer.Option(help="A policy that ships, such as neighbour-first.")] = None,
    critical: Annotated[str | None, typer.Option(help="Mark: 500MB, 1GiB or 5%.")] = None,
    low: Annotated[str | None, typer.Option(help="Mark, at least critical.")] = None,
    high: Annotated[str | None, typer.Option(help="Mark, at least low.")] = None,
    dry_run: Annotated[bool | None, typer.Option("--dry-run", help="Decide, but send no directive.")] = None,
    takeover: Annotated[bool | None, typer.Option("--takeover", help="Replace a daemon that governs now.")] = None,
    metrics: Annotated[
        bool | None, typer.Option("--metrics/--no-metrics", help="Answer Prometheus' scrapes, or not.")
    ] = None,
    metrics_address: Annotated[str | None, typer.Option(help="HOST:PORT for scrapes; loopback by default.")] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    show_settings: Annotated[bool, typer.Option("--show-settings", help="List every setting and exit.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Read the settings and run until a signal."""
    if version:
        typer.echo(f"memory-daemon {installed_version()}")
        return
    if show_settings:
        typer.echo(settings_help())
        return
    policy = _given(critical=critical, low=low, high=high, dry_run=dry_run)
    flags = _given(
        services_dir=services_dir,
        sockets=socket or None,
        policy_socket=policy_socket,
        state_dir=state_dir,
        memory=memory,
        cgroup_root=cgroup_root,
        takeover=takeover,
        profile=profile,
        log_format=log_format,
        log_level=log_level,
        metrics=_given(enabled=metrics, address=metrics_address) or None,
        policy=policy or None,
    )
    raise typer.Exit(_run(config, flags))


def _given(**flags: Any) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _run(path: Path | None, flags: dict[str, Any]) -> int:
    with hangups_wait():
        return _serve(path, flags)


def _serve(path: Path | None, flags: dict[str, Any]) -> int:
    try:
        config = load_config(path, flags)
        configure_logs(log_format=config.log_format, log_level=config.log_level)
        with contextlib.ExitStack() as stack:
            metrics = Metrics(config, version=installed_version())
            wakeup = metrics.pace()
            stack.enter_context(_signals(wakeup))
            assemble(config, wakeup, stack, reread=lambda: load_config(path, flags), metrics=metrics).run(wakeup)
            _log.info("stopping")
    except StartupError as error:
        typer.echo(f"memory-daemon: {error}", err=True)
        return EXIT_MISUSED if isinstance(error, ConfigError) else EXIT_FAILED
    return 0


@contextlib.contextmanager
def _signals(wakeup: Wakeup) -> Iterator[None]:
    """End the loop on SIGTERM and SIGINT while inside."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        wakeup.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
