"""The service under load: one that is started for it, or one that runs."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks.load.lines import own_line
from benchmarks.reference_tone import write_reference
from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from greenroom.tts.v1 import tts_pb2 as pb
from tools.both import Both

LOOPBACK: Final = ("127.0.0.1:", "localhost:", "[::1]:", "unix:")
FULL: Final = "synthetic:full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which service to start, if `address` is None; None elsewhere leaves it to the service."""

    address: str | None = None
    model: str | None = None
    weights: str | None = None
    device: str | None = None
    sessions_most: int = 1_024
    service_env: Mapping[str, str] | None = None
    daemon_env: Mapping[str, str] | None = None
    with_daemon: bool = False
    pid: int | None = None
    control_socket: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A service that speaks. `pid` and `control_socket` None: it is not ours to look into."""

    address: str
    model: str
    voice: str
    creates_voices: bool
    pid: int | None
    control_socket: str | None
    log: Path | None

    def residency(self) -> Any:
        """Return what the service holds; None where its control socket is not known."""
        if self.control_socket is None:
            return None
        with grpc.insecure_channel(f"unix:{self.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            return control.GetResidency(residency_pb2.GetResidencyRequest(), timeout=10.0).report

    def trim(self) -> None:
        """Have everything given back that is worth nothing while nobody speaks; modules stay."""
        if self.control_socket is not None:
            with grpc.insecure_channel(f"unix:{self.control_socket}") as channel:
                residency_pb2_grpc.ResidencyServiceStub(channel).TrimMemory(
                    residency_pb2.TrimMemoryRequest(requested_by="load"), timeout=30.0
                )


def check_loopback(address: str) -> None:
    """Raise ValueError unless an address is on this machine: load is nothing to send to others by mistake."""
    if not address.startswith(LOOPBACK):
        raise ValueError(f"{address} is not on this machine; put load only on a loopback address")


@contextlib.asynccontextmanager
async def served(asked: Asked) -> AsyncIterator[Served]:
    """Give the service, which speaks; end it afterwards if it was started here."""
    if asked.address is not None:
        check_loopback(asked.address)
        yield await _known(asked, asked.address, pid=asked.pid, control_socket=asked.control_socket, log=None)
        return
    with tempfile.TemporaryDirectory(prefix="greenroom-load-") as folder:
        both = _both(asked, Path(folder))
        try:
            await asyncio.to_thread(_start, both, with_daemon=asked.with_daemon)
            yield await _known(
                asked,
                both.speech_address,
                pid=both.service.pid,
                control_socket=str(both.control_socket),
                log=both.service.log_path,
            )
        finally:
            await asyncio.to_thread(both.stop)


def _both(asked: Asked, folder: Path) -> Both:
    weights = "synthetic" if asked.weights == FULL else asked.weights
    env = {
        "GREENROOM_SERVICE_LIMITS__SESSIONS": str(asked.sessions_most),
        "GREENROOM_SERVICE_LOG_LEVEL": "warning",
        **({"GREENROOM_SERVICE_DEVICE": asked.device} if asked.device else {}),
        **(asked.service_env or {}),
    }
    return Both(folder, model=asked.model, weights=weights, service_env=env, daemon_env=asked.daemon_env)


def _start(both: Both, *, with_daemon: bool) -> None:
    if with_daemon:
        both.start()
        return
    both.service.start()
    both.wait_serving()


async def _known(asked: Asked, address: str, **parts: Any) -> Served:
    """Ask which model speaks, and make a voice where it has none of its own."""
    async with own_line(address) as stub:
        info = await stub.GetServiceInfo(pb.GetServiceInfoRequest(), timeout=10.0)
        model = next((each for each in info.models if each.id == asked.model), info.models[0])
        voice = model.default_voice or await make_voice(stub, model.id, seconds=10)
    return Served(address=address, model=model.id, voice=voice, creates_voices=model.creates_voices, **parts)


async def make_voice(stub: Any, model: str, *, seconds: int) -> str:
    """Make a voice of so many seconds; return its id."""
    content = await asyncio.to_thread(_reference, seconds)

    async def upload() -> AsyncIterator[Any]:
        yield pb.CreateVoiceRequest(spec=pb.VoiceSpec(display_name="load", model=model))
        for at in range(0, len(content), 1 << 16):
            yield pb.CreateVoiceRequest(content=content[at : at + (1 << 16)])

    made: str = (await stub.CreateVoice(upload(), timeout=60.0)).voice.id
    return made


def _reference(seconds: int) -> bytes:
    """Return a WAV file of something like a voice."""
    with tempfile.TemporaryDirectory(prefix="greenroom-load-voice-") as folder:
        path = Path(folder) / "reference.wav"
        write_reference(path, seconds=seconds)
        return path.read_bytes()
