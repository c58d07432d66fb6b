"""PolicyService behind a real Unix socket, with everything that it touches in reach."""

from pathlib import Path

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from greenroom.memory.v1 import policy_pb2, policy_pb2_grpc
from memory_daemon.admin import PolicyService, make_server
from memory_daemon.audit import Audit
from memory_daemon.board import Board, DeviceStatus, Status
from memory_daemon.journal_records import Record
from memory_daemon.link_view import LinkState, LinkView
from memory_daemon.marks import HOST_POLICY, Marks
from memory_daemon.override_store import OverrideStore
from memory_daemon.rehearsal import Rehearsal
from memory_daemon.store import PolicyStore
from memory_daemon.types import HOST, Device, MemorySample, Pressure, ResidencyReport, Tier
from tests.fakes.manual_clock import ManualClock
from tests.fakes.memory_views import SPEECH, used

GB = 10**9
TIMEOUT_SECONDS = 10.0
MODULE = used("voice", restore_seconds=0.5)
VIEW = LinkView(
    socket=Path("speech.sock"),
    service=SPEECH,
    state=LinkState.GOVERNING,
    reason="",
    epoch=4,
    device=Device(device=HOST, tier=Tier.HOST),
    report=ResidencyReport(unix_seconds=9.0, modules=(MODULE,), budget_bytes=77),
    directive_version=3,
)
SAMPLE = MemorySample(device=HOST, seconds=1.0, unix_seconds=2.0, total_bytes=100 * GB, free_bytes=50 * GB)


class Desk:
    """A PolicyService behind a real socket, with everything that it touches in reach."""

    def __init__(self, folder: Path) -> None:
        clock = ManualClock(1000.0)
        self.policies = PolicyStore(folder=folder, initial=HOST_POLICY, unix_clock=clock)
        self.overrides = OverrideStore(folder=folder, unix_clock=clock)
        device = DeviceStatus(
            sample=SAMPLE,
            pressure=Pressure.STEADY,
            marks=Marks(critical_bytes=5 * GB, low_bytes=10 * GB, high_bytes=15 * GB),
        )
        self.first = Status(holder_id="holder", kept=self.policies.current, devices=(device,), services=(VIEW,))
        self.board = Board(first=self.first, watchers_maximum=2)
        self.records: list[Record] = []
        self.wakes = 0
        service = PolicyService(
            policies=self.policies,
            overrides=self.overrides,
            board=self.board,
            audit=Audit(write=self.records.append, wake=self._wake),
            unix_clock=clock,
            rehearsal=Rehearsal(journal_folder=folder / "journal"),
            journal_folder=folder / "journal",
        )
        self._server = make_server(service, watchers_maximum=2)
        self._server.add_insecure_port(f"unix:{folder}/policy.sock")
        self._server.start()
        self._channel = grpc.insecure_channel(f"unix:{folder}/policy.sock")
        self.stub = policy_pb2_grpc.PolicyServiceStub(self._channel)

    def close(self) -> None:
        """Send everybody home."""
        self._channel.close()
        self.board.close()
        self._server.stop(0).wait()

    def _wake(self) -> None:
        self.wakes += 1

    def update(self, *paths: str, **values: object) -> policy_pb2.Policy:
        """Ask for a change of these fields and return the policy that is answered."""
        extra = {name: values.pop(name) for name in ("etag", "validate_only", "requested_by") if name in values}
        request = policy_pb2.UpdatePolicyRequest(
            policy=policy_pb2.Policy(**values), update_mask=FieldMask(paths=paths or tuple(values)), **extra
        )
        return self.stub.UpdatePolicy(request, timeout=TIMEOUT_SECONDS).policy

    def pin(self, module: str = "voice", **values: object) -> policy_pb2.Override:
        """Ask for a pin and return the override that is answered."""
        override = policy_pb2.Override(service=SPEECH, module=module, kind=policy_pb2.OVERRIDE_KIND_PIN)
        request = policy_pb2.SetOverrideRequest(override=override, **{"requested_by": "me"} | values)
        return self.stub.SetOverride(request, timeout=TIMEOUT_SECONDS).override


def refusal(error: grpc.RpcError) -> tuple[grpc.StatusCode, str, list[str]]:
    """Return code, reason and fields of a refusal; its domain is always ours."""
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    assert info.domain == "greenroom"
    return error.code(), info.reason, [violation.field for violation in bad.field_violations]
