"""Starts `tts-service` and `memory-daemon` as two processes with folders of their own, and stops them again.

Used by the demo, `make run`, the benchmarks and the contract tests, so that all of them run what is shipped.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc, residency_pb2, residency_pb2_grpc

READY_SECONDS = 120.0
STOP_SECONDS = 20.0


class NotReadyError(Exception):
    """A process did not come up; the message holds the end of its log."""


class Process:
    """One process and its log."""

    def __init__(self, name: str, arguments: Sequence[str], *, env: Mapping[str, str], log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._arguments = [sys.executable, "-m", *arguments]
        self._env = dict(env)
        self._popen: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """Return the process's id while it runs."""
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        """Start it; it writes to its log."""
        self._log = self.log_path.open("ab")
        self._popen = subprocess.Popen(  # noqa: S603  # Our own commands.
            self._arguments, env=self._env, stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True
        )

    def check(self) -> None:
        """Raise NotReadyError if it has ended."""
        assert self._popen is not None
        code = self._popen.poll()
        if code is not None:
            raise NotReadyError(f"{self.name} ended with status {code}:\n{self.log_tail()}")

    def log_tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def signal(self, number: int) -> None:
        """Send a signal to exactly this process."""
        assert self._popen is not None
        self._popen.send_signal(number)

    def wait(self, timeout_seconds: float = STOP_SECONDS) -> int:
        """Wait until it has ended; return its status."""
        assert self._popen is not None
        code = self._popen.wait(timeout_seconds)
        if self._log is not None:
            self._log.close()
        return code

    def stop(self) -> int:
        """Ask it to end, and make it end if it does not."""
        if self._popen is None:
            return 0
        self._popen.terminate()
        try:
            return self.wait()
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self.wait()


class Both:
    """The two processes in a folder: sockets, state, cache and logs are all below it."""

    def __init__(
        self,
        folder: Path,
        *,
        speech_port: int | None = None,
        service_env: Mapping[str, str] | None = None,
        daemon_env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # A Unix socket's path holds 107 bytes at most, so sockets get a short folder of their own.
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="greenroom-"))
        self.speech_address = f"127.0.0.1:{speech_port or free_port()}"
        self.policy_socket = self.runtime_dir / "greenroom" / "policy.sock"
        self.control_socket = self.runtime_dir / "greenroom" / "services" / "default.sock"
        self.env = self._environment()
        self.service = self._process(
            "tts_service", {"GREENROOM_SERVICE_SPEECH_ADDRESS": self.speech_address}, service_env
        )
        self.daemon = self._process("memory_daemon", {}, daemon_env)

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
        env.update(
            XDG_RUNTIME_DIR=str(self.runtime_dir),
            XDG_STATE_HOME=str(self.folder / "state"),
            XDG_CONFIG_HOME=str(self.folder / "config"),
            XDG_CACHE_HOME=str(self.folder / "cache"),
            PYTHONUNBUFFERED="1",
        )
        return env

    def _process(self, module: str, own: Mapping[str, str], extra: Mapping[str, str] | None) -> Process:
        env = {**self.env, **own, **(extra or {})}
        return Process(module.replace("_", "-"), [module], env=env, log_path=self.folder / f"{module}.log")

    def start(self) -> Self:
        """Start both and wait until the service speaks and the daemon governs it."""
        self.service.start()
        self.daemon.start()
        self.wait_serving()
        self.wait_governed()
        return self

    def wait_serving(self) -> None:
        """Wait until the service's health says SERVING."""
        with grpc.insecure_channel(self.speech_address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            self._until(
                lambda: (
                    health.Check(health_pb2.HealthCheckRequest(), timeout=1.0).status
                    == health_pb2.HealthCheckResponse.SERVING
                ),
                self.service,
            )

    def wait_governed(self) -> None:
        """Wait until the service has a governor."""
        with grpc.insecure_channel(f"unix:{self.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            request = residency_pb2.GetResidencyRequest()
            self._until(lambda: bool(control.GetResidency(request, timeout=1.0).report.holder_id), self.daemon)

    def _until(self, holds: Callable[[], bool], process: Process) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            process.check()
            with contextlib.suppress(grpc.RpcError):
                if holds():
                    return
            time.sleep(0.05)
        raise NotReadyError(f"{process.name} was not ready within {READY_SECONDS:g} s:\n{process.log_tail()}")

    def policy(self, channel: grpc.Channel) -> policy_pb2_grpc.PolicyServiceStub:
        """Return a stub of the daemon's PolicyService."""
        return policy_pb2_grpc.PolicyServiceStub(channel)

    def policy_channel(self) -> grpc.Channel:
        """Return a channel to the daemon."""
        return grpc.insecure_channel(f"unix:{self.policy_socket}")

    def residency(self) -> residency_pb2.ResidencyReport:
        """Return where the service's modules are."""
        with grpc.insecure_channel(f"unix:{self.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            return control.GetResidency(residency_pb2.GetResidencyRequest(), timeout=5.0).report

    def place_all(self, tier: str | None) -> None:
        """Place every module on a tier, or release all; only while nobody governs."""
        wanted = residency_pb2.Tier.Value(f"TIER_{tier.upper()}") if tier else residency_pb2.TIER_UNSPECIFIED
        with grpc.insecure_channel(f"unix:{self.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            for module in control.GetResidency(residency_pb2.GetResidencyRequest(), timeout=5.0).report.modules:
                request = residency_pb2.PlaceModuleRequest(module=module.module, tier=wanted)
                control.PlaceModule(request, timeout=30.0)

    def status(self) -> policy_pb2.WatchStatusResponse:
        """Return what the daemon sees."""
        with self.policy_channel() as channel:
            stream = self.policy(channel).WatchStatus(policy_pb2.WatchStatusRequest(), timeout=10.0)
            return next(stream)

    def stop(self) -> None:
        """Stop both, the daemon first, and take the sockets' folder away."""
        self.daemon.stop()
        self.service.stop()
        shutil.rmtree(self.runtime_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
