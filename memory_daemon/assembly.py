"""Puts the daemon together: what is kept, what is watched, who is answered and who is governed.

Each step leaves its own end on the stack, so that everything ends in the opposite order, also when a step fails.
"""

import contextlib
import importlib.metadata
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from memory_daemon.admin import PolicyService, make_server
from memory_daemon.audit import Audit
from memory_daemon.board import Board, Status
from memory_daemon.config import ConfigError, DaemonConfig, initial_policy
from memory_daemon.director import Director
from memory_daemon.errors import StartupError
from memory_daemon.gpu_memory import GpuMemory
from memory_daemon.host_gauge import HostGauge
from memory_daemon.journal import Journal, journal_files
from memory_daemon.journal_records import Started
from memory_daemon.link import Greeting, Link
from memory_daemon.links import Links
from memory_daemon.long_waits import wait_long
from memory_daemon.loop import Loop, Wakeup
from memory_daemon.marks import GPU_POLICY, HOST_POLICY, Policy
from memory_daemon.metrics import Metrics
from memory_daemon.override_store import OverrideStore
from memory_daemon.patient_sampler import PatientSampler
from memory_daemon.policy_server import PolicyServer
from memory_daemon.profile_files import overlaid, profile_numbers
from memory_daemon.recollection import recollected
from memory_daemon.recorder import Recorder
from memory_daemon.rehearsal import Rehearsal
from memory_daemon.reload import Configured, Reloader
from memory_daemon.sampler import Sampler, load_nvml
from memory_daemon.service_manager import ServiceManager, manager_in
from memory_daemon.start_memory import SpareMemory, give_back_start_memory, have_one_heap
from memory_daemon.state_folder import LOCK, holder_id, make_folder, take_lock
from memory_daemon.store import PolicyStore
from memory_daemon.types import HOST, DeviceId, SampleFailed, ServiceName
from memory_daemon.usage import HostReading

STOP_SECONDS = 2.0
JOURNAL = "journal"
STATE_WAY_OUT = "stop it, or give this one a --state-dir of its own"

_log = structlog.get_logger(__name__)


def installed_version() -> str:
    """Return the version that is installed."""
    return importlib.metadata.version("greenroom")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What outlives a restart."""

    holder_id: str
    policies: PolicyStore
    overrides: OverrideStore
    journal: Journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """Everything that runs."""

    loop: Loop
    operators: PolicyServer
    manager: ServiceManager
    spare: SpareMemory

    def run(self, wakeup: Wakeup) -> None:
        """Tick until stopped, and say so to whoever started the process."""
        give_back_start_memory()
        self.manager.ready()
        self.loop.run(wakeup, upkeep=self._upkeep)
        self.manager.stopping()

    def _upkeep(self, words: str) -> float | None:
        self.operators.tend()
        self.spare.tend(time.monotonic())
        self.manager.alive(words)
        return self.manager.sign_seconds


def assemble(
    config: DaemonConfig,
    wakeup: Wakeup,
    stack: contextlib.ExitStack,
    *,
    reread: Callable[[], DaemonConfig],
    metrics: Metrics,
) -> Daemon:
    """Begin everything but the loop; the stack ends it in the opposite order."""
    have_one_heap()
    wait_long()
    sampler = _sampler(config)
    stack.callback(sampler.close)
    devices = _devices(config, sampler)
    kept = _load(config, devices, stack)
    write = metrics.records.counted(kept.journal.write)
    board = Board(first=Status(holder_id=kept.holder_id, kept=kept.policies.current), watchers_maximum=config.watchers)
    metrics.watch(board, kept.journal)
    stack.enter_context(metrics.served())
    audit = Audit(write=write, wake=wakeup.wake)
    reloader = Reloader(
        config=config,
        configured=Configured(read=reread, policy_of=lambda again: _initial_policy(again, devices)),
        policies=kept.policies,
        audit=audit,
    )
    reloader.start()
    stack.callback(reloader.close)
    operators = _serve_operators(config, kept, board, audit, stack)
    links = _make_links(config, kept.holder_id, wakeup)
    stack.callback(links.close, STOP_SECONDS)
    recorder = Recorder(write=write, clock=time.monotonic)
    policy = kept.policies.current.policy
    floors = {ServiceName(name): size for name, size in config.floors_bytes.items()}
    write(Started(holder_id=kept.holder_id, version=installed_version(), policy=policy, floors_bytes=floors))
    _announce(config, devices, kept.holder_id)
    loop = Loop(
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
        recollection=recollected(journal_files(config.effective_state_dir / JOURNAL), time.time()),
        host_reading=_host_reading(config, devices),
    )
    return Daemon(
        loop=loop,
        operators=operators,
        manager=manager_in(os.environ, time.monotonic),
        spare=SpareMemory(begun_seconds=time.monotonic()),
    )


def _serve_operators(
    config: DaemonConfig, kept: _Kept, board: Board, audit: Audit, stack: contextlib.ExitStack
) -> PolicyServer:
    """Answer operators; at the end watchers are sent home first."""
    service = PolicyService(
        policies=kept.policies,
        overrides=kept.overrides,
        board=board,
        audit=audit,
        unix_clock=time.time,
        rehearsal=Rehearsal(journal_folder=config.effective_state_dir / JOURNAL),
        journal_folder=config.effective_state_dir / JOURNAL,
    )
    operators = PolicyServer(
        path=config.effective_policy_socket,
        folder_mode=config.policy_folder_mode,
        make=lambda: make_server(service, watchers_maximum=config.watchers),
        clock=time.monotonic,
    )
    operators.start()
    stack.callback(operators.stop)
    stack.callback(board.close)
    return operators


def _host_reading(config: DaemonConfig, devices: tuple[DeviceId, ...]) -> Callable[[], HostReading | None]:
    """Return what reads host memory beside GPUs; where it is the memory that is watched, nothing does it twice."""
    if HOST in devices:
        return lambda: None
    gauge = HostGauge(cgroup_root=config.cgroup_root, clock=time.monotonic, unix_clock=time.time)
    return gauge.read


def _sampler(config: DaemonConfig) -> PatientSampler:
    blocking = Sampler(
        gpus=GpuMemory(load=load_nvml), cgroup_root=config.cgroup_root, clock=time.monotonic, unix_clock=time.time
    )
    sampler = PatientSampler(sampler=blocking, clock=time.monotonic, unix_clock=time.time)
    sampler.start()
    return sampler


def _devices(config: DaemonConfig, sampler: PatientSampler) -> tuple[DeviceId, ...]:
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


def _initial_policy(config: DaemonConfig, devices: tuple[DeviceId, ...]) -> Policy:
    """Return the policy to begin with: the configuration's numbers above a profile's, above the defaults."""
    numbers = overlaid(profile_numbers(config.profile), config.policy) if config.profile else config.policy
    return initial_policy(numbers, HOST_POLICY if devices == (HOST,) else GPU_POLICY)


def _load(config: DaemonConfig, devices: tuple[DeviceId, ...], stack: contextlib.ExitStack) -> _Kept:
    """Take the state folder and read what an earlier run kept."""
    folder = config.effective_state_dir
    initial = _initial_policy(config, devices)
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
