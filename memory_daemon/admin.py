"""The operators' API: records what is asked and shows what is, and decides nothing."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import grpc

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc
from memory_daemon.admin_answers import (
    change_messages,
    explanation_message,
    freeze_of,
    history_message,
    past_seconds_of,
    point_messages,
    question_of,
    undo_message,
    undo_of,
)
from memory_daemon.admin_messages import (
    DEFAULT_SERVICE,
    change_of,
    freeze_message,
    names_of,
    override_message,
    override_of,
    policy_in_force_message,
    policy_message,
    status_message,
)
from memory_daemon.audit import Audit
from memory_daemon.board import Board
from memory_daemon.errors import DaemonError, FieldViolation, Reason, bad_config
from memory_daemon.explanations import explain_directive, explain_module
from memory_daemon.history import history
from memory_daemon.journal import journal_files
from memory_daemon.kept_policy import Change, KeptPolicy, Undo
from memory_daemon.lenient import without_bad_requests
from memory_daemon.link_view import LinkView
from memory_daemon.loose_timers import exact_timers
from memory_daemon.marks import Policy
from memory_daemon.past import since
from memory_daemon.rehearsal import Rehearsal
from memory_daemon.rehearsal_messages import candidates_of, response_of
from memory_daemon.statuses import errors_as_statuses
from memory_daemon.types import Freeze, MemorySample, ModuleName, ModuleStatus, Override, ServiceName

THREADS_FOR_REQUESTS = 4
REQUEST_BYTES_MAXIMUM = 64 * 1024
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", REQUEST_BYTES_MAXIMUM),
    # A watcher whose process is stopped gives its place up after 30 s; without calls nothing is asked.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


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

    def undo(self, undo: Undo, totals_bytes: tuple[int, ...]) -> tuple[KeptPolicy, KeptPolicy]:
        """Take changes back and return the policy before, and as it is now (or would be); raises DaemonError."""


class Overrides(Protocol):
    """The overrides and the freeze in force."""

    def set(self, override: Override) -> None:
        """Put one in force; raises DaemonError."""

    def clear(self, service: ServiceName, module: ModuleName) -> Override | None:
        """Take one back and return it; raises DaemonError."""

    def set_freeze(self, freeze: Freeze) -> None:
        """Put a freeze in force; raises DaemonError."""

    def clear_freeze(self) -> Freeze | None:
        """End the freeze and return it; raises DaemonError."""


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    """Tunes and shows the daemon."""

    def __init__(
        self,
        *,
        policies: Policies,
        overrides: Overrides,
        board: Board,
        audit: Audit,
        unix_clock: Callable[[], float],
        rehearsal: Rehearsal,
        journal_folder: Path,
    ) -> None:
        self._policies = policies
        self._overrides = overrides
        self._board = board
        self._audit = audit
        self._unix_clock = unix_clock
        self._rehearsal = rehearsal
        self._journal_folder = journal_folder

    def __repr__(self) -> str:
        return f"<PolicyService {self._policies!r} {self._overrides!r}>"

    def GetPolicy(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.GetPolicyRequest, context: grpc.ServicerContext
    ) -> policy_pb2.GetPolicyResponse:
        """Tell the policy in force."""
        del request
        with errors_as_statuses(context):
            kept = self._policies.current
            response = policy_in_force_message(kept)
            response.changes.extend(change_messages(kept))
            return response

    def UpdatePolicy(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.UpdatePolicyRequest, context: grpc.ServicerContext
    ) -> policy_pb2.UpdatePolicyResponse:
        """Change the policy as one validated whole."""
        with errors_as_statuses(context):
            change = change_of(request, self._policies.initial)
            before, after = self._policies.update(change, self._totals_bytes())
            if not change.validate_only:
                self._audit.policy(before, after)
            return policy_pb2.UpdatePolicyResponse(policy=policy_message(after))

    def UndoPolicy(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.UndoPolicyRequest, context: grpc.ServicerContext
    ) -> policy_pb2.UndoPolicyResponse:
        """Take changes of the policy back."""
        with errors_as_statuses(context):
            undo = undo_of(request)
            before, after = self._policies.undo(undo, self._totals_bytes())
            if not undo.validate_only:
                self._audit.policy(before, after, undo=True)
            return undo_message(before, after)

    def WatchStatus(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.WatchStatusRequest, context: grpc.ServicerContext
    ) -> Iterator[policy_pb2.WatchStatusResponse]:
        """Tell what the daemon sees and does, now and after every tick."""
        with errors_as_statuses(context), self._board.watch() as watcher:
            context.add_callback(watcher.leave)
            past_seconds = past_seconds_of(request)
            for status in watcher.statuses():
                message = status_message(status)
                if past_seconds:
                    message.past.extend(point_messages(since(self._board.past, past_seconds)))
                    past_seconds = 0.0
                yield message

    def SetOverride(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.SetOverrideRequest, context: grpc.ServicerContext
    ) -> policy_pb2.SetOverrideResponse:
        """Put an operator's wish for one module in force."""
        with errors_as_statuses(context):
            override = override_of(request, self._unix_clock())
            self._known(override.service, override.module)
            self._overrides.set(override)
            self._audit.override("set", request.requested_by, override)
            return policy_pb2.SetOverrideResponse(override=override_message(override))

    def ClearOverride(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.ClearOverrideRequest, context: grpc.ServicerContext
    ) -> policy_pb2.ClearOverrideResponse:
        """Take an operator's wish back, if there is one."""
        with errors_as_statuses(context):
            service, module = names_of(request.service, request.module, request.requested_by, "")
            cleared = self._overrides.clear(service, module)
            if cleared is not None:
                self._audit.override("cleared", request.requested_by, cleared)
            return policy_pb2.ClearOverrideResponse()

    def SetFreeze(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.SetFreezeRequest, context: grpc.ServicerContext
    ) -> policy_pb2.SetFreezeResponse:
        """Let nothing move, as far as the daemon decides."""
        with errors_as_statuses(context):
            freeze = freeze_of(request, self._unix_clock())
            self._overrides.set_freeze(freeze)
            self._audit.freeze("set", request.requested_by, freeze)
            return policy_pb2.SetFreezeResponse(freeze=freeze_message(freeze))

    def ClearFreeze(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.ClearFreezeRequest, context: grpc.ServicerContext
    ) -> policy_pb2.ClearFreezeResponse:
        """Let modules move again, if they were frozen."""
        with errors_as_statuses(context):
            cleared = self._overrides.clear_freeze()
            if cleared is not None:
                self._audit.freeze("cleared", request.requested_by, cleared)
            return policy_pb2.ClearFreezeResponse()

    def ExplainPlacement(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.ExplainPlacementRequest, context: grpc.ServicerContext
    ) -> policy_pb2.ExplainPlacementResponse:
        """Tell why modules are where they are, and why the last directive was sent."""
        with errors_as_statuses(context):
            status, past, now_unix_seconds = self._board.status, self._board.past, self._unix_clock()
            service = ServiceName(request.service or DEFAULT_SERVICE)
            view, modules = self._known(service, ModuleName(request.module) if request.module else None)
            explained = [explain_module(status, past, view, module, now_unix_seconds) for module in modules]
            return explanation_message(explained, explain_directive(status, past, view, now_unix_seconds))

    def GetHistory(  # noqa: N802 - The method's name in the API.
        self, request: policy_pb2.GetHistoryRequest, context: grpc.ServicerContext
    ) -> policy_pb2.GetHistoryResponse:
        """Tell what was decided and changed."""
        with errors_as_statuses(context):
            events, truncated = history(journal_files(self._journal_folder), question_of(request))
            return history_message(events, truncated=truncated)

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

    def _known(self, service: ServiceName, module: ModuleName | None) -> tuple[LinkView, tuple[ModuleStatus, ...]]:
        """Return a service and the module of its last report, or all; raises DaemonError MODULE_NOT_FOUND."""
        services = {view.service: view for view in self._board.status.services}
        if service not in services:
            words = f"no service {service!r}; there are: {', '.join(sorted(services)) or 'none'}"
            raise DaemonError(Reason.MODULE_NOT_FOUND, words)
        view = services[service]
        modules = () if view.report is None else view.report.modules
        found = tuple(status for status in modules if module in {None, status.module})
        if module is not None and not found:
            there = ", ".join(status.module for status in modules) or "none yet"
            raise DaemonError(Reason.MODULE_NOT_FOUND, f"{service!r} has no module {module!r}; it has: {there}")
        return view, found

    def _totals_bytes(self) -> tuple[int, ...]:
        samples = (device.sample for device in self._board.status.devices)
        return tuple(sample.total_bytes for sample in samples if isinstance(sample, MemorySample))


def make_server(service: PolicyService, *, watchers_maximum: int) -> grpc.Server:
    """Return a server for the service, bound to nothing yet: a thread for each watcher, and some for requests."""
    calls_maximum = watchers_maximum + THREADS_FOR_REQUESTS
    threads = ThreadPoolExecutor(max_workers=calls_maximum, thread_name_prefix="policy", initializer=exact_timers)
    # More calls than threads would wait unseen; they are refused instead.
    server = grpc.server(threads, options=OPTIONS, maximum_concurrent_rpcs=calls_maximum)
    policy_pb2_grpc.add_PolicyServiceServicer_to_server(service, without_bad_requests(server))
    return server
