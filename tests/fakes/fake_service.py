"""A service's side of `residency.proto` on a real Unix socket, with the protocol's rules and no real modules.

What a governor does against the protocol is kept in `violations`, so that a test can say that there was none.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from urllib.parse import quote

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from greenroom.memory.v1 import residency_pb2, residency_pb2_grpc

REPORT_SECONDS = 0.2
WAIT_SECONDS = 15.0
HOLDER_CHARACTERS = 128
VALID_FOR_SECONDS = (1.0, 600.0)


@dataclass
class FakeModule:
    """One module; tiers as numbers of the wire."""

    name: str
    home_bytes: int
    tier: residency_pb2.Tier.ValueType = residency_pb2.TIER_HOST
    claims: int = 0
    uses: int = 0
    restores: int = 0
    evictions: int = 0
    pinned: bool = False
    last_use_unix_seconds: float | None = None


@dataclass
class Reign:
    """One governor's stream; `said` holds what it is to be told, and the status that ends it."""

    epoch: int
    holder_id: str
    said: SimpleQueue[residency_pb2.GovernResponse | status_pb2.Status] = field(default_factory=SimpleQueue)
    directives: list[residency_pb2.Directive] = field(default_factory=list)
    renewals: int = 0
    valid_until_seconds: float | None = None


class FakeService(residency_pb2_grpc.ResidencyServiceServicer):
    """A service on a CPU: home is HOST, away is DISK; on a GPU: home is DEVICE, away is HOST.

    `on_held` hears what modules hold after every move; `gpu` is the UUID of the device, empty for host memory;
    `largest_step` names the modules that speech needs at once.
    """

    def __init__(
        self,
        socket: Path,
        modules: dict[str, int],
        *,
        on_held: Callable[[int], None] = lambda _: None,
        gpu: str = "",
        report_seconds: float = REPORT_SECONDS,
        largest_step: Collection[str] = (),
    ) -> None:
        self.socket = socket
        self.largest_step = frozenset(largest_step)
        self._report_seconds = report_seconds
        self._device = gpu or "host"
        self._home = residency_pb2.TIER_DEVICE if gpu else residency_pb2.TIER_HOST
        self.modules = {
            name: FakeModule(name=name, home_bytes=size_bytes, tier=self._home) for name, size_bytes in modules.items()
        }
        self.hellos: list[residency_pb2.Hello] = []
        self.accepted: list[residency_pb2.Directive] = []
        self.violations: list[str] = []
        self.refuse_with = ""
        self.silent = False
        self.kept_bytes = self.stuck_bytes = 0
        self.trims: list[str] = []
        self.trims_fail = False
        self.protocol_version = 1
        self._on_held = on_held
        self._changed = threading.Condition()
        self._reign: Reign | None = None
        self._epochs = 0
        self._instance = 0
        self._released_bytes = 0
        self._server: grpc.Server | None = None

    def __repr__(self) -> str:
        tiers = " ".join(f"{module.name}={module.tier}" for module in self.modules.values())
        return f"<FakeService {self.socket.name} epoch={self._epochs} {tiers}>"

    def start(self) -> None:
        """Bind the socket and serve; a new start is a new instance of the service."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self._instance += 1
        self._epochs = 0
        self._reign = None
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16), options=(("grpc.so_reuseport", 0),))
        residency_pb2_grpc.add_ResidencyServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{quote(str(self.socket))}")
        self._server.start()

    def stop(self) -> None:
        """Die: streams break, and the socket is gone."""
        assert self._server is not None
        self._server.stop(0).wait()
        self._server = None
        self.socket.unlink(missing_ok=True)

    def tier(self, name: str) -> int:
        """Return where a module is."""
        return self.modules[name].tier

    def use(self, name: str) -> None:
        """Let a request use a module: it comes home if it must, within the budget, for which others make room."""
        with self._changed:
            module = self.modules[name]
            if not self.make_room(name):
                self.violations.append(f"a budget that does not hold {name}")
            module.uses += 1
            module.last_use_unix_seconds = time.time()
            self._move(module, self._home)
            self._report()

    def step(self) -> None:
        """Make the largest step of speech: it needs its modules at once, and a budget below that fails it for good."""
        with self._changed:
            budget_bytes = self.budget_bytes
            if budget_bytes is not None and budget_bytes < self.step_bytes:
                self.violations.append(f"a budget of {budget_bytes} for a step of {self.step_bytes}")
                return
            for name in self.largest_step:
                self.modules[name].claims += 1
            for name in self.largest_step:
                self.use(name)
            for name in self.largest_step:
                self.modules[name].claims -= 1

    @property
    def step_bytes(self) -> int:
        """Return what the largest step needs at home at once."""
        return sum(self.modules[name].home_bytes for name in self.largest_step)

    def make_room(self, name: str) -> bool:
        """Have others leave so far that the budget holds a module too, claimed ones last; tells whether it does."""
        with self._changed:
            module, budget_bytes = self.modules[name], self.budget_bytes
            if budget_bytes is None or module.tier == self._home:
                return True
            if module.home_bytes > budget_bytes:
                return False
            self._shrink(budget_bytes - module.home_bytes)
            return self._held_bytes() + module.home_bytes <= budget_bytes

    @property
    def budget_bytes(self) -> int | None:
        """Return the budget in force, None for none."""
        reign = self._reign
        last = reign.directives[-1] if reign is not None and reign.directives and self.is_in_force() else None
        return last.budget_bytes if last is not None and last.HasField("budget_bytes") else None

    def wait_for(self, holds: Callable[[], bool], seconds: float = WAIT_SECONDS) -> bool:
        """Wait until something holds; False if it does not come true in time."""
        with self._changed:
            return self._changed.wait_for(holds, seconds)

    def is_in_force(self) -> bool:
        """Tell whether a directive is in force now."""
        reign = self._reign
        until_seconds = None if reign is None else reign.valid_until_seconds
        return until_seconds is not None and time.monotonic() < until_seconds

    def Govern(  # noqa: N802 - The method's name in the API.
        self, request_iterator: Iterator[residency_pb2.GovernRequest], context: grpc.ServicerContext
    ) -> Iterator[residency_pb2.GovernResponse]:
        """Let a governor in, and do as it says."""
        first = next(request_iterator, None)
        if first is None or first.WhichOneof("request") != "hello":
            self.violations.append("the first message is no hello")
            context.abort_with_status(rpc_status.to_status(_status(code_pb2.INVALID_ARGUMENT, "BAD_CONFIG", "hello")))
        reign = self._let_in(first.hello, context)
        context.add_callback(lambda: reign.said.put(status_pb2.Status(code=code_pb2.CANCELLED)))
        reader = threading.Thread(target=self._read, args=(reign, request_iterator), daemon=True)
        reader.start()
        yield from self._tell(reign, context)

    def _let_in(self, hello: residency_pb2.Hello, context: grpc.ServicerContext) -> Reign:
        with self._changed:
            self.hellos.append(hello)
            if not (0 < len(hello.holder_id) <= HOLDER_CHARACTERS and hello.holder_id.isascii()):
                self.violations.append(f"holder_id {hello.holder_id!r}")
            earlier = self._reign
            if earlier is not None and earlier.holder_id != hello.holder_id:
                if not hello.takeover:
                    refusal = _status(code_pb2.FAILED_PRECONDITION, "GOVERNED", f"{earlier.holder_id!r} governs")
                    self._changed.notify_all()
                    context.abort_with_status(rpc_status.to_status(refusal))
                earlier.said.put(_status(code_pb2.ABORTED, "SUPERSEDED", f"{hello.holder_id!r} took over"))
            self._epochs += 1
            self._reign = Reign(epoch=self._epochs, holder_id=hello.holder_id)
            if not self.silent:
                self._reign.said.put(residency_pb2.GovernResponse(welcome=self._welcome(self._reign)))
            self._changed.notify_all()
            return self._reign

    def _tell(self, reign: Reign, context: grpc.ServicerContext) -> Iterator[residency_pb2.GovernResponse]:
        while True:
            try:
                said = reign.said.get(timeout=self._report_seconds)
            except Empty:
                if not self.silent:
                    with self._changed:
                        yield residency_pb2.GovernResponse(report=self.report())
                continue
            if isinstance(said, status_pb2.Status):
                if said.code != code_pb2.CANCELLED:
                    context.abort_with_status(rpc_status.to_status(said))
                return
            yield said

    def _read(self, reign: Reign, requests: Iterator[residency_pb2.GovernRequest]) -> None:
        try:
            for request in requests:
                with self._changed:
                    self._hear(reign, request)
                    self._changed.notify_all()
        except grpc.RpcError:
            # The governor broke the stream: that is what a reign's end looks like.
            return

    def _hear(self, reign: Reign, request: residency_pb2.GovernRequest) -> None:
        if request.WhichOneof("request") != "directive":
            self.violations.append("a second hello")
            return
        directive = request.directive
        refusal = self._refusal(reign, directive)
        if refusal is not None:
            nack = residency_pb2.Nack(version=directive.version, error=refusal)
            reign.said.put(residency_pb2.GovernResponse(nack=nack))
            return
        if reign.directives and reign.directives[-1].version == directive.version:
            reign.renewals += 1
        else:
            reign.directives.append(directive)
            self.accepted.append(directive)
        reign.valid_until_seconds = time.monotonic() + directive.valid_for.ToNanoseconds() / 1e9
        reign.said.put(residency_pb2.GovernResponse(ack=residency_pb2.Ack(version=directive.version)))
        self._obey(directive)

    def _refusal(self, reign: Reign, directive: residency_pb2.Directive) -> status_pb2.Status | None:
        """Return why a directive is refused as a whole; what no governor should ever send is a violation."""
        last = reign.directives[-1] if reign.directives else None
        names = [placement.module for placement in directive.placements]
        least, most = VALID_FOR_SECONDS
        if directive.epoch != reign.epoch or reign is not self._reign:
            return _status(code_pb2.ABORTED, "SUPERSEDED", f"epoch {directive.epoch}")
        if directive.version < 1 or (last is not None and directive.version < last.version):
            self.violations.append(f"version {directive.version} after {0 if last is None else last.version}")
            return _status(code_pb2.ABORTED, "SUPERSEDED", "an older version")
        if last is not None and directive.version == last.version and _meaning(directive) != _meaning(last):
            self.violations.append(f"version {directive.version} means two things")
            return _status(code_pb2.INVALID_ARGUMENT, "BAD_CONFIG", "version")
        if not least <= directive.valid_for.ToNanoseconds() / 1e9 <= most or len(set(names)) < len(names):
            self.violations.append(f"valid_for or placements out of bounds: {directive}")
            return _status(code_pb2.INVALID_ARGUMENT, "BAD_CONFIG", "bounds")
        unknown = set(names) - set(self.modules)
        if unknown or self.refuse_with:
            return _status(code_pb2.INVALID_ARGUMENT, "MODULE_NOT_FOUND", self.refuse_with or f"unknown {unknown}")
        return None

    def _obey(self, directive: residency_pb2.Directive) -> None:
        for placement in directive.placements:
            module = self.modules[placement.module]
            urgent = placement.urgency == residency_pb2.URGENCY_WHEN_UNLEASED
            if placement.tier == self._home or urgent or not module.claims:
                self._move(module, placement.tier)
        if directive.HasField("budget_bytes"):
            self._shrink(directive.budget_bytes)
        self._report()

    def _shrink(self, budget_bytes: int) -> None:
        """Have modules leave until the rest is within a budget, the coldest first and claimed ones last."""
        away = residency_pb2.TIER_HOST if self._home == residency_pb2.TIER_DEVICE else residency_pb2.TIER_DISK
        at_home = [module for module in self.modules.values() if module.tier == self._home and not module.pinned]
        for module in sorted(at_home, key=lambda each: (each.claims > 0, each.last_use_unix_seconds or 0.0)):
            if self._held_bytes() > budget_bytes:
                self._move(module, away)

    def _move(self, module: FakeModule, tier: residency_pb2.Tier.ValueType) -> None:
        if module.tier == tier:
            return
        home = tier == self._home
        module.restores += home
        module.evictions += not home
        self._released_bytes += 0 if home else module.home_bytes
        module.tier = tier
        self._on_held(self._held_bytes())

    def _report(self) -> None:
        if self._reign is not None and not self.silent:
            self._reign.said.put(residency_pb2.GovernResponse(report=self.report()))
        self._changed.notify_all()

    def TrimMemory(  # noqa: N802 - The method's name in the API.
        self, request: residency_pb2.TrimMemoryRequest, context: grpc.ServicerContext
    ) -> residency_pb2.TrimMemoryResponse:
        """Give back what the allocator keeps, but for what shares blocks with memory in use."""
        with self._changed:
            self.trims.append(request.requested_by)
            if self.trims_fail:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many trims at once")
            before_bytes, self.kept_bytes = self.kept_bytes, min(self.kept_bytes, self.stuck_bytes)
            self._changed.notify_all()
        kind = residency_pb2.MEMORY_KIND_DEVICE_CACHE
        told = residency_pb2.TrimmedMemory(kind=kind, before_bytes=before_bytes, after_bytes=self.kept_bytes)
        return residency_pb2.TrimMemoryResponse(kinds=[told])

    def _held_bytes(self) -> int:
        return sum(module.home_bytes for module in self.modules.values() if module.tier == self._home)

    def report(self) -> residency_pb2.ResidencyReport:
        """Say what is."""
        reign = self._reign
        last = reign.directives[-1].version if reign is not None and reign.directives else 0
        report = residency_pb2.ResidencyReport(
            modules=[_module_message(module, self._home) for module in self.modules.values()],
            home_bytes=self._held_bytes(),
            released_bytes=self._released_bytes,
            accepted_version=last,
            applied_version=last,
            epoch=0 if reign is None else reign.epoch,
            largest_step_bytes=self.step_bytes,
        )
        if self._home == residency_pb2.TIER_DEVICE:
            held_bytes = self._held_bytes()
            usage = residency_pb2.DeviceUsage(
                reserved_bytes=held_bytes + self.kept_bytes, allocated_bytes=held_bytes, arena_bytes=held_bytes
            )
            report.device.CopyFrom(usage)
        report.time.GetCurrentTime()
        return report

    def _welcome(self, reign: Reign) -> residency_pb2.Welcome:
        device = residency_pb2.Device(id=self._device, tier=self._home)
        return residency_pb2.Welcome(
            epoch=reign.epoch,
            service_instance_id=f"instance-{self._instance}",
            protocol_version=self.protocol_version,
            service_name=self.socket.name.removesuffix(".sock"),
            devices=[device],
            report=self.report(),
        )


def _module_message(module: FakeModule, home: residency_pb2.Tier.ValueType) -> residency_pb2.ModuleStatus:
    status = residency_pb2.ModuleStatus(
        module=module.name,
        home=home,
        tier=module.tier,
        state=residency_pb2.MODULE_STATE_RESTING,
        home_bytes=module.home_bytes,
        claims=module.claims,
        uses=module.uses,
        restores=module.restores,
        evictions=module.evictions,
        pinned=module.pinned,
    )
    if module.last_use_unix_seconds is not None:
        status.last_use_time.FromMicroseconds(int(module.last_use_unix_seconds * 1e6))
    return status


def _meaning(directive: residency_pb2.Directive) -> tuple[object, ...]:
    placements = sorted((placement.module, placement.tier, placement.urgency) for placement in directive.placements)
    return (directive.budget_bytes if directive.HasField("budget_bytes") else None, *placements)


def _status(code: int, reason: str, words: str) -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(error_details_pb2.ErrorInfo(reason=reason, domain="greenroom"))
    return status_pb2.Status(code=code, message=words, details=[detail])
