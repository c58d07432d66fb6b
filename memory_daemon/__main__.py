"""Composition root of the memory daemon: settings, collaborators, signals, and the order of beginning and ending."""

import contextlib
import importlib.metadata
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import structlog
import typer

from memory_daemon.admin import PolicyService, make_server
from memory_daemon.board import Board, Status
from memory_daemon.config import ConfigError, DaemonConfig, described_settings, initial_policy, load_config
from memory_daemon.director import Director
from memory_daemon.errors import StartupError
from memory_daemon.gpu_memory import GpuMemory
from memory_daemon.journal import Journal
from memory_daemon.journal_records import Started
from memory_daemon.link import Greeting, Link
from memory_daemon.links import Links
from memory_daemon.logs import configure_logs
from memory_daemon.loop import Loop, Wakeup
from memory_daemon.marks import GPU_POLICY, HOST_POLICY
from memory_daemon.override_store import OverrideStore
from memory_daemon.policy_socket import take_place
from memory_daemon.profile_files import overlaid, profile_numbers
from memory_daemon.recorder import Recorder
from memory_daemon.rehearsal import Rehearsal
from memory_daemon.sampler import Sampler, load_nvml
from memory_daemon.state_folder import LOCK, holder_id, make_folder, take_lock
from memory_daemon.store import PolicyStore
from memory_daemon.types import HOST, DeviceId, SampleFailed

EXIT_FAILED = 1
EXIT_MISUSED = 2
STOP_SECONDS = 2.0
JOURNAL = "journal"
STATE_WAY_OUT = "stop it, or give this one a --state-dir of its own"

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


def main() -> None:
    """Run the command."""
    app()


@app.command(help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
def command(
    *,
    config: Annotated[Path | None, typer.Option(help="Configuration file (TOML).")] = None,
    services_dir: Annotated[Path | None, typer.Option(help="Folder of services' sockets.")] = None,
    socket: Annotated[list[Path] | None, typer.Option(help="Socket of a service elsewhere; may be repeated.")] = None,
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
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    show_settings: Annotated[bool, typer.Option("--show-settings", help="List every setting and exit.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Read the settings and run until a signal."""
    if version:
        typer.echo(f"memory-daemon {_version()}")
        return
    if show_settings:
        typer.echo("\n".join(described_settings()))
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
        policy=policy or None,
    )
    raise typer.Exit(_run(config, flags))


def _given(**flags: Any) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _run(path: Path | None, flags: dict[str, Any]) -> int:
    try:
        config = load_config(path, flags)
        configure_logs(log_format=config.log_format, log_level=config.log_level)
        with contextlib.ExitStack() as stack:
            wakeup = Wakeup(clock=time.monotonic)
            stack.enter_context(_signals(wakeup))
            _start(config, wakeup, stack).run(wakeup)
            _log.info("stopping")
    except StartupError as error:
        typer.echo(f"memory-daemon: {error}", err=True)
        return EXIT_MISUSED if isinstance(error, ConfigError) else EXIT_FAILED
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What outlives a restart."""

    holder_id: str
    policies: PolicyStore
    overrides: OverrideStore
    journal: Journal


def _start(config: DaemonConfig, wakeup: Wakeup, stack: contextlib.ExitStack) -> Loop:
    """Begin everything but the loop; the stack ends it in the opposite order."""
    sampler = Sampler(
        gpus=GpuMemory(load=load_nvml), cgroup_root=config.cgroup_root, clock=time.monotonic, unix_clock=time.time
    )
    stack.callback(sampler.close)
    devices = _devices(config, sampler)
    kept = _load(config, devices, stack)
    board = Board(first=Status(holder_id=kept.holder_id, kept=kept.policies.current), watchers_maximum=config.watchers)
    service = PolicyService(
        policies=kept.policies,
        overrides=kept.overrides,
        board=board,
        write=kept.journal.write,
        wake=wakeup.wake,
        unix_clock=time.time,
        rehearsal=Rehearsal(journal_folder=config.effective_state_dir / JOURNAL),
    )
    _serve(config, service, board, stack)
    links = _make_links(config, kept.holder_id, wakeup)
    stack.callback(links.close, STOP_SECONDS)
    recorder = Recorder(write=kept.journal.write, clock=time.monotonic)
    kept.journal.write(Started(holder_id=kept.holder_id, version=_version(), policy=kept.policies.current.policy))
    _announce(config, devices, kept.holder_id)
    return Loop(
        sampler=sampler,
        services=links,
        policies=kept.policies,
        overrides=kept.overrides,
        director=Director(mailboxes=links, recorder=recorder),
        recorder=recorder,
        board=board,
        clock=time.monotonic,
        devices=devices,
        floors_bytes=config.floors_bytes,
    )


def _devices(config: DaemonConfig, sampler: Sampler) -> tuple[DeviceId, ...]:
    """Return what is watched whether or not a service computes in it."""
    if config.cgroup_root is not None and not config.cgroup_root.is_dir():
        raise ConfigError(f"cgroup_root: {config.cgroup_root} is no folder")
    if config.memory == "host":
        return (HOST,)
    found = sampler.gpus()
    reason = found.reason if isinstance(found, SampleFailed) else "there is none"
    if not isinstance(found, SampleFailed) and found:
        return found
    if config.memory == "gpu":
        raise StartupError(f"no GPU can be watched: {reason}; use --memory host to watch host memory")
    _log.info("watching_host_memory", reason=f"no GPU: {reason}")
    return (HOST,)


def _load(config: DaemonConfig, devices: tuple[DeviceId, ...], stack: contextlib.ExitStack) -> _Kept:
    """Take the state folder and read what an earlier run kept."""
    folder = config.effective_state_dir
    numbers = overlaid(profile_numbers(config.profile), config.policy) if config.profile else config.policy
    initial = initial_policy(numbers, HOST_POLICY if devices == (HOST,) else GPU_POLICY)
    make_folder(folder, 0o700)
    stack.callback(os.close, take_lock(folder / LOCK, STATE_WAY_OUT))
    policies = PolicyStore(folder=folder, initial=initial, unix_clock=time.time)
    overrides = OverrideStore(folder=folder, unix_clock=time.time)
    journal = Journal(
        folder=folder / JOURNAL,
        size_maximum_bytes=config.journal_file_bytes,
        files=config.journal_files,
        unix_clock=time.time,
    )
    stack.callback(journal.close)
    for loaded in (policies.load(), overrides.load()):
        if loaded.trouble:
            _log.error("kept_file_unusable", trouble=loaded.trouble)
    if policies.current.revision:
        _log.warning(
            "policy_from_earlier_run",
            note="it was changed while the daemon ran, and wins over the configuration",
            revision=policies.current.revision,
            by=policies.current.updated_by,
        )
    return _Kept(holder_id=holder_id(folder), policies=policies, overrides=overrides, journal=journal)


def _serve(config: DaemonConfig, service: PolicyService, board: Board, stack: contextlib.ExitStack) -> None:
    """Answer operators; at the end watchers are sent home first."""
    place = take_place(config.effective_policy_socket, config.policy_folder_mode)
    stack.callback(place.release)
    server = make_server(service, watchers_maximum=config.watchers)
    try:
        server.add_insecure_port(place.address)
    except RuntimeError as error:
        raise StartupError(f"{place.path} cannot be bound: {error}; choose another --policy-socket") from error
    place.open_to_group()
    server.start()
    stack.callback(lambda: server.stop(STOP_SECONDS).wait(STOP_SECONDS))
    stack.callback(board.close)


def _make_links(config: DaemonConfig, holder: str, wakeup: Wakeup) -> Links:
    greeting = Greeting(holder_id=holder, display_name=config.display_name, takeover=config.takeover)
    jitter = random.Random()  # noqa: S311 - Spreads retries; it guards nothing.

    def make_link(socket: Path) -> Link:
        return Link(socket=socket, greeting=greeting, clock=time.monotonic, jitter=jitter.random, on_change=wakeup.wake)

    return Links(folder=config.effective_services_dir, sockets=config.sockets, make_link=make_link)


def _announce(config: DaemonConfig, devices: tuple[DeviceId, ...], holder: str) -> None:
    _log.info(
        "listening",
        policy_socket=str(config.effective_policy_socket),
        services_dir=str(config.effective_services_dir),
        state_dir=str(config.effective_state_dir),
        devices=list(devices),
        holder_id=holder,
    )


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


def _version() -> str:
    return importlib.metadata.version("greenroom")


if __name__ == "__main__":
    main()
