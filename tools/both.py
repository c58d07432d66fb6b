"""Starts `tts-service` and `memory-daemon` as two processes with folders of their own, and stops them again.

Used by the demo, the benchmarks and the contract tests, so that all of them run what is shipped, and none of them
touches what the user's own service and daemon keep.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc, residency_pb2, residency_pb2_grpc
from tools.process import READY_SECONDS, Process, wait_governed, wait_serving

LOADING_SECONDS = 1_800.0
"""For a service that makes 3 GB of weights first, or fetches them."""


def engine_env(model: str | None = None, weights: str | None = None, device: str | None = None) -> dict[str, str]:
    """Return what has a service speak with a model; what is None is the service's own default."""
    given = {"MODEL": model, "WEIGHTS": weights, "DEVICE": device}
    return {f"GREENROOM_SERVICE_{name}": value for name, value in given.items() if value is not None}


class Both:
    """The two processes in a folder: sockets, state, cache and logs are all below it."""

    def __init__(
        self,
        folder: Path,
        *,
        speech_port: int | None = None,
        model: str | None = None,
        weights: str | None = None,
        service_env: Mapping[str, str] | None = None,
        daemon_env: Mapping[str, str] | None = None,
    ) -> None:
        # XDG folders count only if they are absolute; with a relative one the user's own state would be changed.
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        # A Unix socket's path holds 107 bytes at most, so sockets get a short folder of their own.
        self.runtime_dir = Path(tempfile.mkdtemp(prefix="greenroom-"))
        self.speech_address = f"127.0.0.1:{speech_port or free_port()}"
        self.policy_socket = self.runtime_dir / "greenroom" / "policy.sock"
        self.control_socket = self.runtime_dir / "greenroom" / "services" / "default.sock"
        self.env = self._environment()
        self.service = self._process(
            "tts_service",
            {"GREENROOM_SERVICE_SPEECH_ADDRESS": self.speech_address, **engine_env(model, weights)},
            service_env,
        )
        self.ready_seconds = READY_SECONDS if weights is None else LOADING_SECONDS
        self.daemon = self._process("memory_daemon", {}, daemon_env)

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("GREENROOM_")}
        env.update(
            XDG_RUNTIME_DIR=str(self.runtime_dir),
            XDG_STATE_HOME=str(self.folder / "state"),
            XDG_CONFIG_HOME=str(self.folder / "config"),
            XDG_CACHE_HOME=str(self.folder / "cache"),
            HF_HOME=str(hub_home()),
            PYTHONUNBUFFERED="1",
            GREENROOM_SERVICE_METRICS__ADDRESS="127.0.0.1:0",
            GREENROOM_DAEMON_METRICS__ADDRESS="127.0.0.1:0",
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
        wait_serving(self.service, self.speech_address, within_seconds=self.ready_seconds)

    def wait_governed(self) -> None:
        """Wait until the service has a governor."""
        wait_governed(self.daemon, self.control_socket)

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
        try:
            self.daemon.stop()
        finally:
            try:
                self.service.stop()
            finally:
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

    def __repr__(self) -> str:
        return f"<Both in {self.folder} | {self.service!r} {self.daemon!r}>"


def hub_home() -> Path:
    """Return the user's own Hugging Face folder: weights are read from there, 3 GB are not fetched twice."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("HF_HOME") or Path(cache) / "huggingface").resolve()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
