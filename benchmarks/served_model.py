"""A running service of one model, as a benchmark starts, asks and watches it."""

import os
import signal
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import psutil

from benchmarks.reference_tone import write_reference
from benchmarks.trace_window import Worked, trace_window
from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from greenroom.tts.v1 import tts_pb2 as pb
from tools.both import Both
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel

MIB: Final = 1 << 20
TRACE_SECONDS: Final = 60.0
HOST_FIGURES: Final = {"VmRSS": "Pss", "RssAnon": "Pss_Anon", "RssFile": "Pss_File", "RssShmem": "Pss_Shmem"}
"""What is told, and where a process's share of it stands."""


class ServedModel:
    """A running service of one model, and what is asked of it."""

    def __init__(
        self,
        model: ChatterboxModel,
        folder: Path,
        place: Path,
        *,
        device: str,
        service_env: Mapping[str, str] | None = None,
        daemon_env: Mapping[str, str] | None = None,
    ) -> None:
        self._trace = place / "trace.json"
        told = {"GREENROOM_SERVICE_DEVICE": device, "GREENROOM_SERVICE_TRACE_FILE": str(self._trace)}
        self.both = Both(
            place,
            model=model.value,
            weights=str(folder),
            service_env={**told, **(service_env or {})},
            daemon_env=daemon_env,
        )
        self.model = model
        self._folder = folder

    def __repr__(self) -> str:
        return f"<ServedModel {self.model} | {self.both!r}>"

    def start(self) -> dict[str, float]:
        """Start, with the weights in the page cache; return what that took."""
        weight_bytes = 0
        for path in self._folder.iterdir():
            weight_bytes += len(path.read_bytes()) if path.stat().st_size > MIB else 0
        began = time.perf_counter()
        self.both.service.start()
        self.both.wait_serving()
        seconds = time.perf_counter() - began
        return {"ready_seconds": seconds, "weights_mib": weight_bytes / MIB, **self._host_mib()}

    def start_and_stop(self) -> dict[str, float]:
        """Start and stop; return what the start took."""
        found = self.start()
        self.both.service.stop()
        return found

    def _host_mib(self) -> dict[str, float]:
        """Return the host memory of all the service's processes: its peak, and what it is made of.

        What they share counts once (the kernel's proportional sets); each one's own peak counts as if all came at the
        same time. Libraries are `RssFile`, masters `RssShmem` where the engine has a process of its own.
        """
        root = psutil.Process(self.both.service.pid)
        found = dict.fromkeys(("VmHWM", *HOST_FIGURES), 0.0)
        for each in (root, *root.children(recursive=True)):
            status, shares = _kib(each.pid, "status"), _kib(each.pid, "smaps_rollup")
            for name, share in HOST_FIGURES.items():
                found[name] += shares[share] / 1024
            found["VmHWM"] += (shares["Pss"] + status["VmHWM"] - status["VmRSS"]) / 1024
        return found

    def usage(self) -> dict[str, Any]:
        """Return what the service says that it holds of the device, in MiB, and its modules' moves, in milliseconds."""
        report = self.both.residency()
        device = {field.name: value / MIB for field, value in report.device.ListFields() if isinstance(value, int)}
        return {
            "device": device,
            "modules": {
                each.module: {
                    "tier": residency_pb2.Tier.Name(each.tier),
                    "mib": each.home_bytes / MIB,
                    "restore_ms": each.restore_duration.ToNanoseconds() / 1e6,
                    "evict_ms": each.evict_duration.ToNanoseconds() / 1e6,
                }
                for each in report.modules
            },
        }

    def window(self, begin_seconds: float, end_seconds: float) -> list[Worked]:
        """Return what the service did between two moments of this process's `time.perf_counter`, the same clock."""
        self._trace.unlink(missing_ok=True)
        os.kill(self.both.service.pid, signal.SIGUSR1)
        deadline = time.monotonic() + TRACE_SECONDS
        while not self._trace.exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the service wrote no trace; its log says why")
            time.sleep(0.01)
        return trace_window(self._trace, begin_seconds, end_seconds)

    def place(self, modules: tuple[str, ...] | None, tier: str | None) -> None:
        """Place modules (None: all) on a tier, or release them."""
        wanted = residency_pb2.Tier.Value(f"TIER_{tier.upper()}") if tier else residency_pb2.TIER_UNSPECIFIED
        with grpc.insecure_channel(f"unix:{self.both.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            for module in modules or [each.module for each in self.both.residency().modules]:
                control.PlaceModule(residency_pb2.PlaceModuleRequest(module=module, tier=wanted), timeout=30.0)

    def trim(self) -> None:
        """Have everything given back that is worth nothing while nobody speaks."""
        with grpc.insecure_channel(f"unix:{self.both.control_socket}") as channel:
            control = residency_pb2_grpc.ResidencyServiceStub(channel)
            control.TrimMemory(residency_pb2.TrimMemoryRequest(), timeout=30.0)

    async def voice(self, stub: Any) -> str:
        """Make a voice of ten seconds; return its id."""
        path = self.both.folder / "reference.wav"
        write_reference(path, seconds=10)

        async def upload() -> AsyncIterator[Any]:
            yield pb.CreateVoiceRequest(spec=pb.VoiceSpec(display_name="bench", model=self.model.value))
            yield pb.CreateVoiceRequest(content=path.read_bytes())

        made: str = (await stub.CreateVoice(upload())).voice.id
        return made

    def config(self, voice: str, *, tokens: int, seed: int) -> Any:
        """Return a session's first message."""
        sampling = pb.Sampling(seed=seed, max_segment_tokens=tokens)
        return pb.StreamingSynthesizeRequest(
            config=pb.SessionConfig(
                model=self.model.value, voice=voice, language="en", sampling=sampling, pacing=pb.PACING_NONE
            )
        )


def _kib(pid: int, file: str) -> dict[str, int]:
    """Return the sizes that a file of a process tells."""
    lines = (line.split() for line in Path(f"/proc/{pid}/{file}").read_text(encoding="ascii").splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}
