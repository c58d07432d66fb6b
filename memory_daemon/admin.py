"""The operators' API: records what is asked and shows what is, and decides nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Protocol

import grpc
import structlog

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc
from memory_daemon.admin_messages import (
    change_of,
    names_of,
    override_message,
    override_of,
    policy_in_force_message,
    policy_message,
    status_message,
)
from memory_daemon.board import Board
from memory_daemon.errors import DaemonError, FieldViolation, Reason, bad_config
from memory_daemon.journal_records import OverrideChanged, PolicyChanged, Record
from memory_daemon.kept_policy import Change, KeptPolicy
from memory_daemon.marks import Policy, changes
from memory_daemon.rehearsal import Rehearsal
from memory_daemon.rehearsal_messages import candidates_of, response_of
from memory_daemon.statuses import errors_as_statuses
from memory_daemon.types import MemorySample, ModuleName, Override, ServiceName

THREADS_FOR_REQUESTS = 4
REQUEST_BYTES_MAXIMUM = 64 * 1024

_log = structlog.get_logger(__name__)


class Policies(Protocol):
    """The policy in force."""

    @property
    def current(self) -> KeptPolicy:
        """The policy in force."""

    @property
    def initial(self) -> Policy:
        """What a number that is not set goes back to."""

    def update(self, change: Change, totals_bytes: tuple[int, ...]) -> tuple[KeptPolicy, KeptPolicy]:
        """Return the policy before, and as it is now (or would be); raises DaemonError."""


class Overrides(Protocol):
    """The overrides in force."""

    def set(self, override: Override) -> None:
        """Put one in force; raises DaemonError."""

    def clear(self, service: ServiceName, module: ModuleName) -> Override | None:
        """Take one back and return it; raises DaemonError."""


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    """Tunes and shows the daemon."""

    def __init__(
        self,
        *,
        policies: Policies,
        overrides: Overrides,
        board: Board,
        write: Callable[[Record], None],
        wake: Callable[[], None],
        unix_clock: Callable[[], float],
        rehearsal: Rehearsal,
    ) -> None:
        self._policies = policies
        self._overrides = overrides
        self._board = board
        self._write = write
        self._wake = wake
        self._unix_clock = unix_clock
        self._rehearsal = rehearsal

    def __repr__(self) -> str:
        return f"<PolicyService {self._policies!r} {self._overrides!r}>"

    def GetPolicy(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.GetPolicyRequest, context: grpc.ServicerContext
    ) -> policy_pb2.GetPolicyResponse:
        """Tell the policy in force."""
        del request
        with errors_as_statuses(context):
            return policy_in_force_message(self._policies.current)

    def UpdatePolicy(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.UpdatePolicyRequest, context: grpc.ServicerContext
    ) -> policy_pb2.UpdatePolicyResponse:
        """Change the policy as one validated whole."""
        with errors_as_statuses(context):
            change = change_of(request, self._policies.initial)
            before, after = self._policies.update(change, self._totals_bytes())
            if not change.validate_only and after is not before:
                changed = changes(before.policy, after.policy)
                _log.info("policy_changed", by=change.requested_by, revision=after.revision, changes=changed)
                self._write(
                    PolicyChanged(
                        requested_by=change.requested_by,
                        revision=after.revision,
                        changes=changed,
                        policy=after.policy,
                    )
                )
                self._wake()
            return policy_pb2.UpdatePolicyResponse(policy=policy_message(after))

    def WatchStatus(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.WatchStatusRequest, context: grpc.ServicerContext
    ) -> Iterator[policy_pb2.WatchStatusResponse]:
        """Tell what the daemon sees and does, now and after every tick."""
        del request
        with errors_as_statuses(context), self._board.watch() as watcher:
            context.add_callback(watcher.leave)
            for status in watcher.statuses():
                yield status_message(status)

    def SetOverride(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.SetOverrideRequest, context: grpc.ServicerContext
    ) -> policy_pb2.SetOverrideResponse:
        """Put an operator's wish for one module in force."""
        with errors_as_statuses(context):
            override = override_of(request, self._unix_clock())
            self._check_known(override)
            self._overrides.set(override)
            self._note("set", request.requested_by, override)
            return policy_pb2.SetOverrideResponse(override=override_message(override))

    def ClearOverride(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.ClearOverrideRequest, context: grpc.ServicerContext
    ) -> policy_pb2.ClearOverrideResponse:
        """Take an operator's wish back, if there is one."""
        with errors_as_statuses(context):
            service, module = names_of(request.service, request.module, request.requested_by, "")
            cleared = self._overrides.clear(service, module)
            if cleared is not None:
                self._note("cleared", request.requested_by, cleared)
            return policy_pb2.ClearOverrideResponse()

    def SimulatePolicy(  # noqa: N802 - The method's name in the API.
        self, request_iterator: Iterator[policy_pb2.SimulatePolicyRequest], context: grpc.ServicerContext
    ) -> policy_pb2.SimulatePolicyResponse:
        """Try policies on a trace, or on the daemon's own journal."""
        with errors_as_statuses(context), self._rehearsal.stage() as stage:
            first = next(request_iterator, None)
            if first is None or first.WhichOneof("request") != "config":
                raise bad_config((FieldViolation(field="config", description="must be the first message"),))
            policies = candidates_of(first.config, self._policies.current.policy)
            for request in request_iterator:
                if request.WhichOneof("request") != "trace":
                    raise bad_config((FieldViolation(field="trace", description="must follow the configuration"),))
                stage.take(request.trace)
            told = stage.run(policies, with_rivals=first.config.rivals, hurry=lambda: not context.is_active())
            return response_of(told)

    def _note(self, change: Literal["set", "cleared"], requested_by: str, override: Override) -> None:
        self._write(OverrideChanged(change=change, requested_by=requested_by, override=override))
        _log.info(
            f"override_{change}",
            by=requested_by,
            service=override.service,
            module=override.module,
            override=override.kind.value,
        )
        self._wake()

    def _check_known(self, override: Override) -> None:
        """Raise DaemonError MODULE_NOT_FOUND unless the service's last report names the module."""
        services = {view.service: view.report for view in self._board.status.services}
        report = services.get(override.service)
        if override.service not in services:
            words = f"no service {override.service!r}; there are: {', '.join(sorted(services)) or 'none'}"
            raise DaemonError(Reason.MODULE_NOT_FOUND, words)
        modules = [] if report is None else [status.module for status in report.modules]
        if override.module not in modules:
            words = (
                f"{override.service!r} has no module {override.module!r}; it has: {', '.join(modules) or 'none yet'}"
            )
            raise DaemonError(Reason.MODULE_NOT_FOUND, words)

    def _totals_bytes(self) -> tuple[int, ...]:
        samples = (device.sample for device in self._board.status.devices)
        return tuple(sample.total_bytes for sample in samples if isinstance(sample, MemorySample))


def make_server(service: PolicyService, *, watchers_maximum: int) -> grpc.Server:
    """Return a server for the service, bound to nothing yet: a thread for each watcher, and some for requests."""
    threads = ThreadPoolExecutor(max_workers=watchers_maximum + THREADS_FOR_REQUESTS, thread_name_prefix="policy")
    options = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", REQUEST_BYTES_MAXIMUM))
    server = grpc.server(threads, options=options)
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(service, server)
    return server
