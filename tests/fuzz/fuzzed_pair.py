"""Both servers under fire: the real service with the built-in voice, and the real daemon over a fake driver.

Neither knows of the other, so that a stream that governs the service takes nothing from the daemon; the daemon governs
a service of ours that only books its modules. What a hostile but valid call changed is taken back before a look at how
they are, because to be changed by whoever may is no fault.
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc, residency_pb2
from greenroom.tts.v1 import tts_pb2, tts_pb2_grpc
from tests.fakes.fake_service import FakeService
from tests.fakes.nvml_library import NvmlState, compiled
from tests.fuzz.hostile_sockets import Target
from tools.both import Both, free_port

GPU: Final = "GPU-0"
MODULES: Final = {"t3": 1 << 30, "flow": 1 << 28}
CALL_SECONDS: Final = 0.4
FAULTS: Final = {"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNIMPLEMENTED"}
"""None of these is an answer to a bad request."""
TRACES: Final = ("Traceback (most recent call last)", "call_failed", "request_failed")
TRACE_LETTERS: Final = 4_000
SPOKEN: Final = "All the world's a stage."
SETTLE_SECONDS: Final = 20.0
MORE_THREADS: Final = 4
MORE_FILES: Final = 4
MORE_MIB: Final = 24.0

Method = tuple[str, MethodDescriptor]
"""Where it is served, and what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a process takes."""

    threads: int
    files: int
    resident_mib: float


class FuzzedPair:
    """The two processes, and ways to call and to look at them."""

    def __init__(self, both: Both, metrics: dict[str, int]) -> None:
        self.both = both
        self._targets = {
            "speech": both.speech_address,
            "control": f"unix:{both.control_socket}",
            "policy": f"unix:{both.policy_socket}",
        }
        self._metrics = metrics
        self._channels = {name: grpc.insecure_channel(target) for name, target in self._targets.items()}
        self._policy: policy_pb2.Policy | None = None
        self._well: dict[str, Any] = {}
        self._feet: dict[str, Footprint] = {}

    def __repr__(self) -> str:
        return f"<FuzzedPair {self._feet}>"

    def methods(self) -> list[Method]:
        """Return every method of every service that is served, found in the descriptors."""
        served = {
            "speech": (tts_pb2, health_pb2, reflection_pb2),
            "control": (residency_pb2,),
            "policy": (policy_pb2,),
        }
        return [
            (name, method)
            for name, files in served.items()
            for file in files
            for service in file.DESCRIPTOR.services_by_name.values()
            for method in service.methods
        ]

    def sockets(self) -> dict[str, Target]:
        """Return all that listens."""
        host, _, port = self.both.speech_address.rpartition(":")
        grpc_sockets: dict[str, Target] = {
            "speech": (host, int(port)),
            "control": str(self.both.control_socket),
            "policy": str(self.both.policy_socket),
        }
        return grpc_sockets | {f"metrics of {name}": ("127.0.0.1", port) for name, port in self._metrics.items()}

    def call(self, method: Method, requests: Sequence[bytes]) -> str:
        """Send messages to a method; return the status it ended with, OK for one that answered and went on."""
        name, descriptor = method
        path = f"/{descriptor.containing_service.full_name}/{descriptor.name}"
        channel: Any = self._channels[name]  # Of bytes, which no stub has.
        try:
            if descriptor.client_streaming and descriptor.server_streaming:
                _drain(channel.stream_stream(path)(iter(requests), timeout=CALL_SECONDS))
            elif descriptor.client_streaming:
                channel.stream_unary(path)(iter(requests), timeout=CALL_SECONDS)
            elif descriptor.server_streaming:
                _first(channel.unary_stream(path)(requests[0], timeout=CALL_SECONDS))
            else:
                channel.unary_unary(path)(requests[0], timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            code: str = error.code().name
            return f"{code}: {error.details()}" if code in FAULTS else code
        return "OK"

    def begin(self) -> None:
        """Note how both are now: later they have to be the same."""
        self._well = self._look()
        self._feet = self.footprints()

    def changes(self) -> list[str]:
        """Return what is other than it was: answers, traces of exceptions in the logs, an end."""
        for process in (self.both.service, self.both.daemon):
            process.check()
        looks = self._look().items() if self._well else ()
        found = [f"{name}: {now!r} was {self._well[name]!r}" for name, now in looks if now != self._well[name]]
        for process in (self.both.service, self.both.daemon):
            text = process.log_path.read_text(errors="replace")
            found += [
                f"{process.name} logged: {text[text.index(trace) :][:TRACE_LETTERS]}"
                for trace in TRACES
                if trace in text
            ]
        return found

    def growth(self) -> list[str]:
        """Return who takes more than at the beginning, once what still ends has had time to."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while (grown := self._grown()) and time.monotonic() < deadline:
            time.sleep(0.5)
        return grown

    def footprints(self) -> dict[str, Footprint]:
        """Return what both take now."""
        return {process.name: _footprint(process.pid) for process in (self.both.service, self.both.daemon)}

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels.values():
            channel.close()

    def _grown(self) -> list[str]:
        return [
            f"{name}: {now} was {self._feet[name]}"
            for name, now in self.footprints().items()
            if now.threads > self._feet[name].threads + MORE_THREADS
            or now.files > self._feet[name].files + MORE_FILES
            or now.resident_mib > self._feet[name].resident_mib + MORE_MIB
        ]

    def _look(self) -> dict[str, Any]:
        """Return answers that have to be the same whatever others have sent, each over a connection of its own."""
        with grpc.insecure_channel(self._targets["speech"], options=_OWN) as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10).status
            speech = _speech(tts_pb2_grpc.TextToSpeechServiceStub(channel))
        with grpc.insecure_channel(self._targets["policy"], options=_OWN) as channel:
            policy = policy_pb2_grpc.PolicyServiceStub(channel)
            self._take_back(policy)
            status = next(iter(policy.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=10)))
            devices = [(each.device, each.total_bytes, each.free_bytes, each.error) for each in status.samples]
            services = [(each.service, each.governed) for each in status.services]
        modules = sorted(each.module for each in self.both.residency().modules)
        for field in ("etag", "revision"):
            # Each change counts, the one back as well.
            status.policy.ClearField(field)
        told = {"policy": str(status.policy), "overrides": list(status.overrides)}
        return told | {"health": health, "speech": speech, "devices": devices, "services": services, "modules": modules}

    def _take_back(self, policy: Any) -> None:
        """Undo what somebody was allowed to do."""
        policy.ClearFreeze(policy_pb2.ClearFreezeRequest(requested_by="fuzz"), timeout=10)
        for each in next(iter(policy.WatchStatus(policy_pb2.WatchStatusRequest(), timeout=10))).overrides:
            cleared = policy_pb2.ClearOverrideRequest(service=each.service, module=each.module, requested_by="fuzz")
            policy.ClearOverride(cleared, timeout=10)
        if self._policy is None:
            self._policy = policy.GetPolicy(policy_pb2.GetPolicyRequest(), timeout=10).policy
        request = policy_pb2.UpdatePolicyRequest(policy=self._policy, requested_by="fuzz")
        request.update_mask.paths.append("*")
        policy.UpdatePolicy(request, timeout=10)


_OWN: Final = (("grpc.use_local_subchannel_pool", 1),)


def _speech(stub: Any) -> str:
    """Return a sum of an utterance's audio; it is refused while more than fit are speaking, and tried again."""
    config = tts_pb2.SessionConfig(sampling=tts_pb2.Sampling(seed=7))
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            sound = hashlib.sha256()
            for response in stub.Synthesize(tts_pb2.SynthesizeRequest(text=SPOKEN, config=config), timeout=20):
                if response.WhichOneof("response") == "audio":
                    sound.update(response.audio.data)
            return sound.hexdigest()
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _drain(call: Any) -> None:
    for _ in call:
        pass


def _first(call: Any) -> None:
    next(iter(call), None)
    call.cancel()


def _footprint(pid: int) -> Footprint:
    place = Path(f"/proc/{pid}")
    pages = int((place / "statm").read_text(encoding="ascii").split()[1])
    return Footprint(
        threads=len(list((place / "task").iterdir())),
        files=len(list((place / "fd").iterdir())),
        resident_mib=round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
    )


@contextmanager
def fuzzed_pair(folder: Path) -> Iterator[FuzzedPair]:
    """Run both processes in a folder."""
    state = NvmlState(folder / "nvml.txt", compiled(folder))
    state.tell(f"gpu {GPU} {8 << 30} {6 << 30} 0")
    ports = {"service": free_port(), "daemon": free_port()}
    booked = folder / "booked"
    with ExitStack() as stack:
        both = Both(
            folder,
            service_env={"GREENROOM_SERVICE_METRICS__ADDRESS": f"127.0.0.1:{ports['service']}"},
            daemon_env={
                "GREENROOM_DAEMON_METRICS__ADDRESS": f"127.0.0.1:{ports['daemon']}",
                "GREENROOM_DAEMON_MEMORY": "gpu",
                "GREENROOM_DAEMON_SERVICES_DIR": str(booked),
                **state.environment,
            },
        )
        stack.callback(both.stop)
        service = FakeService(booked / "speech.sock", MODULES, gpu=GPU, report_seconds=1.0)  # type: ignore[abstract]  # gRPC answers for what it does not serve.
        service.start()
        stack.callback(service.stop)
        both.service.start()
        both.daemon.start()
        both.wait_serving()
        service.wait_for(lambda: bool(service.hellos))
        pair = FuzzedPair(both, ports)
        stack.callback(pair.close)
        yield pair
