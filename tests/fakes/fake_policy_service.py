"""A memory daemon that answers as the proto says, over a real Unix socket, and moves nothing real.

It holds the policy and the wishes, and carries the wishes out at once on the fake services it is given. Memory is what
the test says.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import grpc
from google.rpc import code_pb2

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc, residency_pb2, residency_pb2_grpc
from tests.fakes.fake_governed_service import FakeService
from tests.fakes.fake_policy_rules import (
    MARKS,
    Refusal,
    answering,
    bad_config,
    check_override,
    check_policy,
    duration,
    mark_bytes,
    merged,
    module_not_found,
    seconds,
    timestamp,
)

HOLDER = "box-1"
DEADLINE_SECONDS = 3_600.0
"""gRPC tells an endless time where there is no deadline."""


def default_policy() -> policy_pb2.Policy:
    """Return the defaults for host memory."""
    return policy_pb2.Policy(
        critical=policy_pb2.Mark(percent=5),
        low=policy_pb2.Mark(percent=10),
        high=policy_pb2.Mark(percent=15),
        grace=duration(1),
        cool_down=duration(2),
        minimum_residence=duration(5),
        minimum_absence=duration(5),
        minimum_period=duration(0.1),
        maximum_period=duration(1),
        worst_fill_bytes_per_second=6_000_000_000,
        valid_for=duration(10),
        renewal=duration(3),
        background_restore=True,
        etag="e1",
        revision=1,
    )


class FakeDaemon(policy_pb2_grpc.PolicyServiceServicer):
    """A memory daemon over given services; `free_bytes` is what it reads, `requests` what it was asked."""

    def __init__(
        self, *services: FakeService, clock: Callable[[], float] = time.time, period_seconds: float = 0.05
    ) -> None:
        self.services = services
        self.policy = default_policy()
        self.updated_by = ""
        self.total_bytes = 8 * 2**30
        self.free_bytes = 3 * 2**30
        self.read_error = ""
        self.decisions: list[policy_pb2.Decision] = []
        self.requests: list[object] = []
        self.silent = threading.Event()
        self._overrides: dict[tuple[str, str], policy_pb2.Override] = {}
        self._clock = clock
        self._period_seconds = period_seconds
        self._stopped = threading.Event()
        self._lock = threading.RLock()

    def change_behind(self, **fields: object) -> None:
        """Change the policy as another operator would."""
        with self._lock:
            self.policy.MergeFrom(policy_pb2.Policy(**fields))
            self._bump("somebody@else")

    def end(self) -> None:
        """Let the streams end, so that the server can stop."""
        self._stopped.set()

    def GetPolicy(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell the policy."""
        self._heard(request, context)
        when = timestamp(1_763_000_000) if self.updated_by else None
        return policy_pb2.GetPolicyResponse(policy=self.policy, update_time=when, updated_by=self.updated_by)

    def UpdatePolicy(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Change the policy as one validated whole, or try to."""
        self._heard(request, context)
        with answering(context), self._lock:
            if request.etag and request.etag != self.policy.etag:
                raise Refusal(
                    code=code_pb2.ABORTED,
                    reason="ETAG_MISMATCH",
                    message=f"the policy is at etag {self.policy.etag}, not {request.etag}",
                )
            wanted = merged(self.policy, request)
            check_policy(wanted, self.total_bytes)
            if not request.validate_only:
                self.policy = wanted
                self._bump(request.requested_by)
            return policy_pb2.UpdatePolicyResponse(policy=wanted)

    def SetOverride(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Set a wish for a module that a service has, and carry it out."""
        self._heard(request, context)
        with answering(context), self._lock:
            check_override(request)
            name = request.override.service or "default"
            service = next((one for one in self.services if one.name == name), None)
            if service is None:
                raise module_not_found(request.override.module)
            service.module(request.override.module)
            wish = policy_pb2.Override(
                service=name, module=request.override.module, kind=request.override.kind, set_by=request.requested_by
            )
            if request.HasField("time_to_live"):
                wish.expire_time.CopyFrom(timestamp(self._clock() + seconds(request.time_to_live)))
            self._overrides[name, wish.module] = wish
            self._carry_out(service, wish)
            return policy_pb2.SetOverrideResponse(override=wish)

    def ClearOverride(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Take a wish back; there need not be one."""
        self._heard(request, context)
        with answering(context), self._lock:
            if not request.module:
                raise bad_config({"module": "required"})
            self._overrides.pop((request.service or "default", request.module), None)
            return policy_pb2.ClearOverrideResponse()

    def WatchStatus(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell a snapshot, then one status a tick."""
        self._heard(request, context)
        while context.is_active() and not self._stopped.is_set():
            if not self.silent.is_set():
                yield self.status()
            self._stopped.wait(self._period_seconds)

    def status(self) -> policy_pb2.WatchStatusResponse:
        """Return what it sees and does now."""
        with self._lock:
            now = self._clock()
            sample = policy_pb2.Sample(
                time=timestamp(now),
                device="host",
                total_bytes=0 if self.read_error else self.total_bytes,
                free_bytes=0 if self.read_error else self.free_bytes,
                error=self.read_error,
            )
            levels = [mark_bytes(getattr(self.policy, name), self.total_bytes) for name in MARKS]
            return policy_pb2.WatchStatusResponse(
                samples=[sample],
                pressures=[self._pressure(levels)],
                services=[self._service(one) for one in self.services],
                overrides=self._in_force(now),
                decisions=self.decisions[:20],
                policy=self.policy,
                marks=[policy_pb2.Marks(critical_bytes=levels[0], low_bytes=levels[1], high_bytes=levels[2])],
                holder_id=HOLDER,
            )

    def _heard(self, request: object, context: grpc.ServicerContext) -> None:
        """Keep a request; a call without a deadline is a client's mistake, but for the stream, which has none."""
        assert isinstance(request, policy_pb2.WatchStatusRequest) or context.time_remaining() < DEADLINE_SECONDS
        self.requests.append(request)

    def _bump(self, who: str) -> None:
        self.policy.revision += 1
        self.policy.etag = f"e{self.policy.revision}"
        self.updated_by = who

    def _pressure(self, levels: list[int]) -> int:
        if self.read_error:
            return policy_pb2.PRESSURE_UNKNOWN
        critical, low, high = levels
        if self.free_bytes < critical:
            return policy_pb2.PRESSURE_CRITICAL
        if self.free_bytes < low:
            return policy_pb2.PRESSURE_LOW
        return policy_pb2.PRESSURE_ROOM if self.free_bytes > high else policy_pb2.PRESSURE_STEADY

    def _service(self, service: FakeService) -> policy_pb2.ServiceStatus:
        governed = service.governor == HOLDER
        return policy_pb2.ServiceStatus(
            service=service.name,
            governed=governed,
            reason="" if governed else "connecting",
            epoch=3 if governed else 0,
            report=service.now() if governed else None,
            directive_version=service.report.accepted_version,
            device="host",
        )

    def _in_force(self, now_unix_seconds: float) -> list[policy_pb2.Override]:
        return [
            wish
            for wish in self._overrides.values()
            if not wish.HasField("expire_time") or wish.expire_time.ToNanoseconds() / 1e9 > now_unix_seconds
        ]

    def _carry_out(self, service: FakeService, wish: policy_pb2.Override) -> None:
        tiers = {
            policy_pb2.OVERRIDE_KIND_PIN: residency_pb2.TIER_HOST,
            policy_pb2.OVERRIDE_KIND_EVICT: residency_pb2.TIER_DISK,
        }
        if wish.kind in tiers and not self.policy.dry_run:
            service.move(wish.module, tiers[wish.kind], residency_pb2.AUTHORITY_DIRECTIVE)

    def __repr__(self) -> str:
        return f"<FakeDaemon revision {self.policy.revision}, {len(self._overrides)} wishes>"


@contextmanager
def serving(path: Path, servicer: FakeDaemon | FakeService) -> Iterator[None]:
    """Serve at a socket for a while; afterwards nobody listens there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=8) as pool:
        server = grpc.server(pool)
        if isinstance(servicer, FakeDaemon):
            policy_pb2_grpc.add_PolicyServiceServicer_to_server(servicer, server)
        else:
            residency_pb2_grpc.add_ResidencyServiceServicer_to_server(servicer, server)
        server.add_insecure_port(f"unix:{quote(str(path))}")
        server.start()
        try:
            yield
        finally:
            if isinstance(servicer, FakeDaemon):
                servicer.end()
            server.stop(0).wait()
