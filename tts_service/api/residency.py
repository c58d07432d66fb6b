"""The handlers of ResidencyService, for the synchronous server: each call has a thread, and streams keep theirs."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from greenroom.memory.v1 import residency_pb2 as pb
from greenroom.memory.v1 import residency_pb2_grpc
from tts_service.api import residency_messages as messages
from tts_service.api import statuses, upkeep_messages
from tts_service.api.control_outbox import ControlOutbox, Due, End, Pace
from tts_service.api.govern_stream import GovernStream
from tts_service.api.stream_slots import FULL_RETRY_SECONDS, StreamSlots
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.residency.governance import Governance
from tts_service.residency.types import Device, ResidencyReport
from tts_service.settings_listing import EffectiveSetting

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceIdentity:
    """What a welcome says of the service; `instance_id` changes with every start."""

    service_name: str
    instance_id: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLimits:
    """The bounds of the control path."""

    govern_streams: int = 8
    watch_streams: int = 16
    placements_at_once: int = 4
    quick_calls: int = 16
    """Threads that no stream and no placement can take: GetResidency always finds one."""
    replies_waiting: int = 64
    hello_seconds: float = 10.0
    place_seconds: float = 5.0
    report_seconds: float = 1.0
    report_minimum_seconds: float = 0.05
    watch_minimum_seconds: float = 0.1

    @property
    def threads(self) -> int:
        """Threads that the server needs."""
        return self.govern_streams + self.watch_streams + self.placements_at_once + self.quick_calls


REPLY_MARGIN_SECONDS = 0.1
"""Part of a caller's deadline that is kept for the answer to travel."""


class ResidencyServicer(residency_pb2_grpc.ResidencyServiceServicer):
    """Translates between the wire and `Governance`."""

    def __init__(
        self,
        *,
        governance: Governance,
        identity: ServiceIdentity,
        limits: ControlLimits,
        settings: Sequence[EffectiveSetting] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._governance = governance
        self._identity = identity
        self._limits = limits
        self._settings = tuple(settings)
        self._clock = clock
        self._governors = StreamSlots(kind="governors", limit=limits.govern_streams)
        self._watchers = StreamSlots(kind="watchers", limit=limits.watch_streams)
        self._placing = threading.BoundedSemaphore(limits.placements_at_once)
        self._trimming = threading.BoundedSemaphore()

    def __repr__(self) -> str:
        return f"<ResidencyServicer {self._governors!r} {self._watchers!r}>"

    @property
    def thread_count(self) -> int:
        """Threads that a server needs for it."""
        return self._limits.threads

    def close(self) -> None:
        """End every stream with DRAINING, and refuse new ones."""
        leaving = ServiceError(Reason.DRAINING, "the service is stopping", retry_after_seconds=FULL_RETRY_SECONDS)
        self._governors.close(leaving)
        self._watchers.close(leaving)

    def Govern(  # noqa: N802 - named by the proto.
        self, request_iterator: Any, context: grpc.ServicerContext
    ) -> Iterator[pb.GovernResponse]:
        """Let a governor in, and say what is until one of both leaves."""
        pace = Pace(minimum_seconds=self._limits.report_minimum_seconds, period_seconds=self._limits.report_seconds)
        outbox = self._begin_stream(self._governors, pace, context)
        stream = GovernStream(governance=self._governance, outbox=outbox, welcome=self._welcome)
        threading.Thread(target=stream.listen, args=(request_iterator,), name="governor", daemon=True).start()
        if not outbox.wait_opened(self._limits.hello_seconds):
            outbox.close(CallerError(Reason.IDLE_TIMEOUT, f"no hello within {self._limits.hello_seconds:g} s"))
        yield from self._say(outbox, context, lambda report: pb.GovernResponse(report=messages.report_message(report)))

    def GetResidency(  # noqa: N802 - named by the proto.
        self, request: pb.GetResidencyRequest, context: grpc.ServicerContext
    ) -> pb.GetResidencyResponse:
        """Tell where everything is."""
        del request
        with _answered(context):
            return pb.GetResidencyResponse(
                report=messages.report_message(self._governance.report(closely=True)),
                service_name=self._identity.service_name,
                service_instance_id=self._identity.instance_id,
            )

    def WatchResidency(  # noqa: N802 - named by the proto.
        self, request: pb.WatchResidencyRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchResidencyResponse]:
        """Tell where everything is, now and on every change."""
        del request
        pace = Pace(minimum_seconds=self._limits.watch_minimum_seconds)
        outbox = self._begin_stream(self._watchers, pace, context)
        with _answered(context):
            outbox.open(_watched(self._governance.report()))
        yield from self._say(outbox, context, _watched)

    def PlaceModule(  # noqa: N802 - named by the proto.
        self, request: pb.PlaceModuleRequest, context: grpc.ServicerContext
    ) -> pb.PlaceModuleResponse:
        """Move a module for an operator, waiting a bounded time until it has."""
        with _answered(context), _slot(self._placing, "placements"):
            module, tier = messages.place_request_of(request)
            status, pending_reason = self._governance.place(
                module, tier, timeout_seconds=self._patience_seconds(context)
            )
            return pb.PlaceModuleResponse(module=messages.module_message(status), pending_reason=pending_reason)

    def TrimMemory(  # noqa: N802 - named by the proto.
        self, request: pb.TrimMemoryRequest, context: grpc.ServicerContext
    ) -> pb.TrimMemoryResponse:
        """Give back what nobody misses, waiting a bounded time until that is done."""
        with _answered(context), _slot(self._trimming, "trims"):
            report = self._governance.trim(
                modules=request.modules,
                requested_by=upkeep_messages.requester_of(request),
                timeout_seconds=self._patience_seconds(context),
            )
            return upkeep_messages.trim_message(report)

    def GetServiceConfiguration(  # noqa: N802 - named by the proto.
        self, request: pb.GetServiceConfigurationRequest, context: grpc.ServicerContext
    ) -> pb.GetServiceConfigurationResponse:
        """Tell every setting in force."""
        del request
        with _answered(context):
            return pb.GetServiceConfigurationResponse(
                settings=upkeep_messages.settings_messages(self._settings),
                service_name=self._identity.service_name,
                service_instance_id=self._identity.instance_id,
            )

    def GetMemoryReport(  # noqa: N802 - named by the proto.
        self, request: pb.GetMemoryReportRequest, context: grpc.ServicerContext
    ) -> pb.GetMemoryReportResponse:
        """Tell how memory was used."""
        with _answered(context):
            max_samples = messages.max_samples_of(request)
            return messages.memory_report_message(self._governance.memory_report(max_samples))

    def _begin_stream(self, slots: StreamSlots, pace: Pace, context: grpc.ServicerContext) -> ControlOutbox[Any]:
        """Take a place and listen for changes; both end with the call, however it ends."""
        outbox: ControlOutbox[Any] = ControlOutbox(
            clock=self._clock, pace=pace, reply_limit=self._limits.replies_waiting
        )
        with _answered(context):
            slots.enter(outbox, context.cancel)
        unsubscribe = self._governance.subscribe(outbox.note_change)

        def end() -> None:
            outbox.close()
            unsubscribe()
            slots.leave(outbox)

        if not context.add_callback(end):
            end()
        return outbox

    def _say(
        self,
        outbox: ControlOutbox[Message],
        context: grpc.ServicerContext,
        message: Callable[[ResidencyReport], Message],
    ) -> Iterator[Message]:
        """Write what there is to say until the stream ends; a report is made when it is sent, so it is the newest."""
        while True:
            match outbox.take():
                case End(error=error):
                    if error is not None:
                        statuses.abort(context, error)
                    return
                case Due():
                    with _answered(context):
                        newest = message(self._governance.report())
                    yield newest
                case reply:
                    yield reply

    def _welcome(self, epoch: int) -> pb.GovernResponse:
        welcome = pb.Welcome(
            epoch=epoch,
            service_instance_id=self._identity.instance_id,
            protocol_version=messages.PROTOCOL_VERSION,
            service_name=self._identity.service_name,
            devices=[messages.device_message(device) for device in self._identity.devices],
            report=messages.report_message(self._governance.report()),
        )
        return pb.GovernResponse(welcome=welcome)

    def _patience_seconds(self, context: grpc.ServicerContext) -> float:
        """Return how long a caller waits for an answer, at most as long as is given to anybody."""
        return min(self._limits.place_seconds, max(0.0, context.time_remaining() - REPLY_MARGIN_SECONDS))


@contextmanager
def _slot(slots: threading.BoundedSemaphore, what: str) -> Iterator[None]:
    """Take one of a few places for calls that wait, or raise ServiceError AT_CAPACITY."""
    if not slots.acquire(blocking=False):
        raise ServiceError(Reason.AT_CAPACITY, f"too many {what} at once", retry_after_seconds=FULL_RETRY_SECONDS)
    try:
        yield
    finally:
        slots.release()


def _watched(report: ResidencyReport) -> pb.WatchResidencyResponse:
    return pb.WatchResidencyResponse(report=messages.report_message(report))


@contextmanager
def _answered(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status of whatever is raised inside."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the edge: everything becomes a status.
        statuses.abort(context, error)
