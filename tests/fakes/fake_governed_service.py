"""A service on a CPU that answers as the residency proto says, over a real Unix socket, and moves nothing real."""

import threading
import time
from collections.abc import Callable

from google.rpc import code_pb2

from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc
from tests.fakes.fake_policy_rules import Refusal, answering, bad_config, duration, module_not_found, timestamp

MIB = 2**20
MODULES = {"voice": 112 * MIB, "watermark.encoder": 96 * MIB, "watermark.detector": 104 * MIB}
CPU_TIERS = (residency_pb2.TIER_HOST, residency_pb2.TIER_DISK)


def default_module(name: str, home_bytes: int, at_unix_seconds: float) -> residency_pb2.ModuleStatus:
    """Return a module at home on a CPU that was used a while ago."""
    return residency_pb2.ModuleStatus(
        module=name,
        home=residency_pb2.TIER_HOST,
        tier=residency_pb2.TIER_HOST,
        state=residency_pb2.MODULE_STATE_RESTING,
        bytes=[residency_pb2.TierBytes(tier=residency_pb2.TIER_HOST, bytes=home_bytes)],
        home_bytes=home_bytes,
        uses=17,
        last_use_time=timestamp(at_unix_seconds - 4),
        restore_duration=duration(0.0352),
        evict_duration=duration(0.0048),
        authority=residency_pb2.AUTHORITY_DEFAULT,
        restores=2,
        evictions=2,
    )


class FakeService(residency_pb2_grpc.ResidencyServiceServicer):
    """A service on a CPU. `governor` names who governs it; while it is set, PlaceModule answers GOVERNED."""

    def __init__(self, name: str = "default", *, clock: Callable[[], float] = time.time, governor: str = "") -> None:
        self.name = name
        self.governor = governor
        self.report = residency_pb2.ResidencyReport(
            modules=[default_module(module, count, clock()) for module, count in MODULES.items()],
            process_bytes=1_200 * MIB,
            released_bytes=208 * MIB,
            budget_bytes=400 * MIB,
            sessions=2,
            queued_utterances=1,
            restore_waits=3,
            restore_wait_duration=duration(0.12),
        )
        self.memory_report = residency_pb2.GetMemoryReportResponse()
        self.settings: list[residency_pb2.Setting] = [
            residency_pb2.Setting(
                name="residency.budget_bytes",
                value="419430400",
                source=residency_pb2.SETTING_SOURCE_FLAG,
                origin="command line",
                description="Bytes that modules may hold at home.",
            ),
            residency_pb2.Setting(
                name="residency.history",
                value="true",
                source=residency_pb2.SETTING_SOURCE_DEFAULT,
                description="Keep samples of memory.",
            ),
        ]
        self.trims: list[residency_pb2.TrimMemoryRequest] = []
        self.fixed = False
        self._clock = clock
        self._lock = threading.Lock()

    def module(self, name: str) -> residency_pb2.ModuleStatus:
        """Return a module, to be looked at or changed; Refusal if there is none."""
        for module in self.report.modules:
            if module.module == name:
                return module
        raise module_not_found(name)

    def now(self) -> residency_pb2.ResidencyReport:
        """Return what is, with sums that are true."""
        with self._lock:
            report = residency_pb2.ResidencyReport()
            report.CopyFrom(self.report)
            report.time.CopyFrom(timestamp(self._clock()))
            report.home_bytes = sum(one.home_bytes for one in report.modules if one.tier == one.home)
            return report

    def move(self, name: str, tier: int, authority: int) -> str:
        """Move a module unless it is leased; return why not."""
        with self._lock:
            module = self.module(name)
            if module.leases and tier != module.tier:
                return "leased"
            module.tier, module.authority = tier, authority
            held_bytes = module.home_bytes if tier == module.home else 0
            module.bytes[0].CopyFrom(residency_pb2.TierBytes(tier=tier, bytes=held_bytes))
            return ""

    def GetResidency(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell once where everything is."""
        del request, context
        return residency_pb2.GetResidencyResponse(
            report=self.now(), service_name=self.name, service_instance_id="instance-1"
        )

    def WatchResidency(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell the snapshot, and end."""
        del request, context
        yield residency_pb2.WatchResidencyResponse(report=self.now())

    def PlaceModule(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Move a module while nobody governs."""
        with answering(context):
            if self.governor:
                raise Refusal(
                    code=code_pb2.FAILED_PRECONDITION,
                    reason="GOVERNED",
                    message=f"{self.governor} governs this service: use PolicyService.SetOverride",
                    metadata={"holder": self.governor, "expires_in": "7s"},
                )
            module = self.module(request.module)
            if request.tier == residency_pb2.TIER_UNSPECIFIED:
                self.move(request.module, module.tier, residency_pb2.AUTHORITY_DEFAULT)
                return residency_pb2.PlaceModuleResponse(module=module)
            if request.tier not in CPU_TIERS:
                raise bad_config({"tier": "this service has host and disk"})
            pending = self.move(request.module, request.tier, residency_pb2.AUTHORITY_OPERATOR)
            return residency_pb2.PlaceModuleResponse(module=module, pending_reason=pending)

    def TrimMemory(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Give back half of the process and, if asked, what nobody uses or claims."""
        with answering(context):
            if self.fixed and request.modules:
                raise Refusal(
                    code=code_pb2.FAILED_PRECONDITION, reason="RESIDENCY_OFF", message="residency is switched off"
                )
            self.trims.append(request)
            kinds = []
            sent: list[str] = []
            if request.modules:
                before_bytes = self.now().home_bytes
                idle = [one.module for one in self.report.modules if not one.claims and one.tier == one.home]
                sent = [
                    name
                    for name in idle
                    if not self.move(name, residency_pb2.TIER_DISK, residency_pb2.AUTHORITY_OPERATOR)
                ]
                kinds.append(
                    residency_pb2.TrimmedMemory(
                        kind=residency_pb2.MEMORY_KIND_MODULES,
                        before_bytes=before_bytes,
                        after_bytes=self.now().home_bytes,
                    )
                )
            kinds.append(
                residency_pb2.TrimmedMemory(
                    kind=residency_pb2.MEMORY_KIND_PROCESS, before_bytes=1_200 * MIB, after_bytes=600 * MIB
                )
            )
            device = self.report.device if self.report.HasField("device") else None
            return residency_pb2.TrimMemoryResponse(kinds=kinds, modules=sent, device=device)

    def GetServiceConfiguration(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell the settings in force."""
        del request, context
        return residency_pb2.GetServiceConfigurationResponse(
            settings=self.settings, service_name=self.name, service_instance_id="instance-1"
        )

    def GetMemoryReport(self, request, context):  # noqa: ANN001, ANN201, N802  gRPC's signature.
        """Tell how memory was used, with no more samples than asked for."""
        with answering(context):
            if not 0 <= request.max_samples <= 10_000:
                raise bad_config({"max_samples": "must be 1 to 10,000"})
            answer = residency_pb2.GetMemoryReportResponse()
            answer.CopyFrom(self.memory_report)
            del answer.samples[: max(0, len(answer.samples) - (request.max_samples or 1_000))]
            answer.modules.extend(self.report.modules)
            return answer

    def __repr__(self) -> str:
        return f"<FakeService {self.name} {'governed' if self.governor else 'free'}>"
