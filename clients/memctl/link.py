"""The calls to the daemon and to a service, each with its deadline; the only file that opens a channel.

The stream of statuses has a limit for each message instead; whoever reads it may cancel it from another thread.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import quote

import grpc
from google.protobuf.message import Message

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc, residency_pb2, residency_pb2_grpc
from memctl import answers_wire, policy_wire, residency_wire, simulation_wire
from memctl.errors import DAEMON, SERVICE, UnreachableError
from memctl.line import patience_with
from memctl.operator_types import Explanation, History, HistoryQuestion, Trying, UndoAnswer
from memctl.report_types import MemoryReport
from memctl.service_types import ServiceSetting, TrimAnswer
from memctl.simulation_types import Trial
from memctl.sockets import Fault
from memctl.statuses import Peer, error_of
from memctl.types import (
    Freeze,
    MemoryPoint,
    Override,
    OverrideKind,
    PlacementAnswer,
    Policy,
    PolicyInForce,
    Residency,
    SettingValue,
    Status,
    Tier,
)
from memctl.wire_fields import duration_message

LARGEST_MESSAGE_BYTES = 16 * 2**20
"""A report with its 10,000 samples takes under 1 MiB; gRPC's own 4 MiB would do, this leaves room."""
_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", LARGEST_MESSAGE_BYTES),
    # A channel that shared its connection with an earlier one would share that one's back-off too.
    ("grpc.use_local_subchannel_pool", 1),
    # A call that meets a server on its way out is tried again within gRPC, and has been seen to hang there for ever,
    # whatever its deadline.
    ("grpc.enable_retries", 0),
)
_Answer = TypeVar("_Answer")


class StatusStream:
    """Statuses as they come, until the daemon ends them or says nothing for too long (`UnreachableError`).

    `past` is memory before the first status, if it was asked for; it is there with that status.
    """

    def __init__(self, call: "_StreamCall", *, peer: Peer, timeout_seconds: float, hang_up: Callable[[], None]) -> None:
        self.past: tuple[MemoryPoint, ...] = ()
        self._call = call
        self._peer = peer
        self._timeout_seconds = timeout_seconds
        self._hang_up = hang_up

    def __iter__(self) -> Iterator[Status]:
        patience_seconds = self._timeout_seconds
        while True:
            message = self._next(patience_seconds)
            self.past = policy_wire.points_of(message) or self.past
            status = policy_wire.status_of(message)
            patience_seconds = patience_with(status, self._timeout_seconds)
            yield status

    def cancel(self) -> None:
        """End it, from any thread."""
        self._call.cancel()

    def _next(self, patience_seconds: float) -> policy_pb2.WatchStatusResponse:
        """Return the next message; a timer hangs up when none comes, because gRPC's streams know no such limit."""
        timer = threading.Timer(patience_seconds, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise error_of(error, self._peer) from error
        except StopIteration:
            raise UnreachableError(self._peer.name, self._peer.path, Fault.LOST) from None
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        """End the channel too: a stream that hangs within gRPC heeds nothing else."""
        self._call.cancel()
        self._hang_up()

    def __repr__(self) -> str:
        return f"<StatusStream {self._peer.path}>"


class PolicyLink:
    """Calls the memory daemon."""

    def __init__(self, channel: grpc.Channel, *, path: Path, timeout_seconds: float) -> None:
        self._channel = channel
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self._peer = Peer(name=DAEMON, path=path)
        self._timeout_seconds = timeout_seconds

    def get_policy(self) -> PolicyInForce:
        """Return the policy, and who changed it last."""
        return policy_wire.policy_in_force_of(self._ask(self._stub.GetPolicy, policy_pb2.GetPolicyRequest()))

    def update_policy(
        self, values: dict[str, SettingValue], *, etag: str, validate_only: bool, requested_by: str
    ) -> Policy:
        """Change exactly these numbers and return the whole; RefusedError BAD_CONFIG or ETAG_MISMATCH."""
        policy, mask = policy_wire.policy_change(values)
        request = policy_pb2.UpdatePolicyRequest(
            policy=policy, update_mask=mask, etag=etag, validate_only=validate_only, requested_by=requested_by
        )
        return policy_wire.policy_of(self._ask(self._stub.UpdatePolicy, request).policy)

    def snapshot(self) -> Status:
        """Return what the daemon sees and does now."""
        stream = self.watch()
        try:
            return next(iter(stream))
        finally:
            stream.cancel()

    def watch(self, *, past_seconds: float = 0.0) -> StatusStream:
        """Return statuses from now on, one a tick, and memory of so many seconds before them."""
        call = self._stub.WatchStatus(policy_pb2.WatchStatusRequest(past=duration_message(past_seconds)))
        return StatusStream(call, peer=self._peer, timeout_seconds=self._timeout_seconds, hang_up=self._channel.close)

    def undo_policy(self, *, revision: int | None, etag: str, validate_only: bool, requested_by: str) -> UndoAnswer:
        """Take the newest change back, or all since a revision; RefusedError NOTHING_TO_UNDO or BAD_CONFIG."""
        request = policy_pb2.UndoPolicyRequest(
            revision=revision, etag=etag, validate_only=validate_only, requested_by=requested_by
        )
        return answers_wire.undo_of(self._ask(self._stub.UndoPolicy, request))

    def set_freeze(self, *, time_to_live_seconds: float | None, requested_by: str) -> Freeze:
        """Let the daemon move nothing and return the freeze in force; no time to live means until it is cleared."""
        request = policy_pb2.SetFreezeRequest(
            time_to_live=None if time_to_live_seconds is None else duration_message(time_to_live_seconds),
            requested_by=requested_by,
        )
        return policy_wire.freeze_of(self._ask(self._stub.SetFreeze, request).freeze)

    def clear_freeze(self, *, requested_by: str) -> None:
        """End the freeze; there need not be one."""
        self._ask(self._stub.ClearFreeze, policy_pb2.ClearFreezeRequest(requested_by=requested_by))

    def explain(self, service: str, module: str) -> Explanation:
        """Return why modules are where they are; an empty module means all. RefusedError MODULE_NOT_FOUND."""
        request = policy_pb2.ExplainPlacementRequest(service=service, module=module)
        return answers_wire.explanation_of(self._ask(self._stub.ExplainPlacement, request))

    def get_history(self, question: HistoryQuestion) -> History:
        """Return what happened, newest first."""
        return answers_wire.history_of(self._ask(self._stub.GetHistory, answers_wire.history_request(question)))

    def simulate(self, tried: tuple[Trying, ...], *, rivals: bool, timeout_seconds: float) -> tuple[Trial, ...]:
        """Return what policies would have done on the daemon's own journal; RefusedError BAD_CONFIG or AT_CAPACITY."""
        request = simulation_wire.simulation_request(tried, rivals=rivals)
        call = cast("Callable[..., policy_pb2.SimulatePolicyResponse]", self._stub.SimulatePolicy)
        return simulation_wire.trials_of(_ask(call, iter((request,)), self._peer, timeout_seconds))

    def set_override(
        self, service: str, module: str, kind: OverrideKind, *, time_to_live_seconds: float | None, requested_by: str
    ) -> Override:
        """Set an override and return it as it is in force; no time to live means until it is cleared."""
        request = policy_pb2.SetOverrideRequest(
            override=policy_wire.override_message(service, module, kind),
            time_to_live=None if time_to_live_seconds is None else duration_message(time_to_live_seconds),
            requested_by=requested_by,
        )
        return policy_wire.override_of(self._ask(self._stub.SetOverride, request).override)

    def clear_override(self, service: str, module: str, *, requested_by: str) -> None:
        """Take an override back; there need not be one."""
        request = policy_pb2.ClearOverrideRequest(service=service, module=module, requested_by=requested_by)
        self._ask(self._stub.ClearOverride, request)

    def _ask(self, call: Callable[..., _Answer], request: Message) -> _Answer:
        return _ask(call, request, self._peer, self._timeout_seconds)

    def __repr__(self) -> str:
        return f"<PolicyLink {self._peer.path}>"


class ServiceLink:
    """Calls one service's control socket, without the daemon."""

    def __init__(self, channel: grpc.Channel, *, path: Path, timeout_seconds: float) -> None:
        self._stub = residency_pb2_grpc.ResidencyServiceStub(channel)
        self._peer = Peer(name=SERVICE, path=path)
        self._timeout_seconds = timeout_seconds

    def get_residency(self) -> Residency:
        """Return where everything is."""
        request = residency_pb2.GetResidencyRequest()
        return residency_wire.residency_of(self._ask(self._stub.GetResidency, request))

    def place_module(self, module: str, tier: Tier) -> PlacementAnswer:
        """Put a module into a tier, or release it with `Tier.AUTO`; RefusedError GOVERNED while a daemon governs."""
        request = residency_pb2.PlaceModuleRequest(module=module, tier=residency_wire.tier_number(tier))
        return residency_wire.placement_of(self._ask(self._stub.PlaceModule, request))

    def trim_memory(self, *, modules: bool, requested_by: str) -> TrimAnswer:
        """Have memory given back, with idle modules if they are asked for; RefusedError RESIDENCY_OFF."""
        request = residency_pb2.TrimMemoryRequest(modules=modules, requested_by=requested_by)
        return residency_wire.trim_of(self._ask(self._stub.TrimMemory, request))

    def get_settings(self) -> tuple[ServiceSetting, ...]:
        """Return every setting in force."""
        request = residency_pb2.GetServiceConfigurationRequest()
        return residency_wire.settings_of(self._ask(self._stub.GetServiceConfiguration, request))

    def get_memory_report(self, max_samples: int) -> MemoryReport:
        """Return how memory was used, with at most so many of the newest samples."""
        request = residency_pb2.GetMemoryReportRequest(max_samples=max_samples)
        return residency_wire.memory_report_of(self._ask(self._stub.GetMemoryReport, request))

    def _ask(self, call: Callable[..., _Answer], request: Message) -> _Answer:
        return _ask(call, request, self._peer, self._timeout_seconds)

    def __repr__(self) -> str:
        return f"<ServiceLink {self._peer.path}>"


class _StreamCall(Protocol):
    def __next__(self) -> policy_pb2.WatchStatusResponse: ...

    def cancel(self) -> Any: ...


@contextmanager
def policy_link(path: Path, *, timeout_seconds: float) -> Iterator[PolicyLink]:
    """Give a link to the daemon at a socket; nothing is dialled before the first call."""
    with grpc.insecure_channel(_target(path), options=_OPTIONS) as channel:
        yield PolicyLink(channel, path=path, timeout_seconds=timeout_seconds)


@contextmanager
def service_link(path: Path, *, timeout_seconds: float) -> Iterator[ServiceLink]:
    """Give a link to a service at its control socket; nothing is dialled before the first call."""
    with grpc.insecure_channel(_target(path), options=_OPTIONS) as channel:
        yield ServiceLink(channel, path=path, timeout_seconds=timeout_seconds)


def _target(path: Path) -> str:
    """Return gRPC's name for a socket; it decodes percent signs, so they are encoded."""
    return f"unix:{quote(str(path.absolute()))}"


def _ask(
    call: Callable[..., _Answer], request: Message | Iterator[Message], peer: Peer, timeout_seconds: float
) -> _Answer:
    try:
        return call(request, timeout=timeout_seconds)
    except grpc.RpcError as error:
        raise error_of(error, peer) from error
