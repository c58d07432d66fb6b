"""The whole control path of a service on a real Unix socket, with a manager that moves nothing."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from greenroom.memory.v1 import residency_pb2 as pb
from greenroom.memory.v1 import residency_pb2_grpc
from tests.fakes.fake_residency_manager import FakeResidencyManager
from tests.fakes.governor_client import GovernorClient
from tts_service.api.residency import ControlLimits, ResidencyServicer, ServiceIdentity
from tts_service.control_server import ControlServer
from tts_service.control_socket import ControlSocket
from tts_service.residency.governance import Governance
from tts_service.residency.types import Device, Tier
from tts_service.settings_listing import EffectiveSetting

PATIENCE_SECONDS = 20.0
"""Far more than anything takes; only a broken test waits so long."""

IDENTITY = ServiceIdentity(
    service_name="default",
    instance_id="instance-1",
    devices=(Device(device_id="host", tier=Tier.HOST, display_name="host memory"),),
)

QUICK = ControlLimits(
    govern_streams=3,
    watch_streams=2,
    placements_at_once=1,
    quick_calls=4,
    hello_seconds=0.3,
    place_seconds=0.3,
    report_seconds=0.2,
    report_minimum_seconds=0.02,
    watch_minimum_seconds=0.02,
)
"""Few places and short times."""


@dataclass(slots=True, kw_only=True)
class ControlPath:
    """A running control server, and what is behind it."""

    manager: FakeResidencyManager
    governance: Governance
    servicer: ResidencyServicer
    server: ControlServer
    channel: grpc.Channel
    governors: list[GovernorClient] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<ControlPath {self.server!r}>"

    @property
    def stub(self) -> residency_pb2_grpc.ResidencyServiceStub:
        """A client of the service."""
        return residency_pb2_grpc.ResidencyServiceStub(self.channel)

    def report(self) -> pb.ResidencyReport:
        """Return what the service says now."""
        return self.stub.GetResidency(pb.GetResidencyRequest(), timeout=10).report

    @contextmanager
    def unread_governor(self) -> Iterator[GovernorClient]:
        """Give a governor whose client takes hardly anything that is not read."""
        options = (("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0))
        with grpc.insecure_channel(f"unix:{self.server.socket_path}", options=options) as channel:
            yield self._known(GovernorClient(channel))

    def governor(self) -> GovernorClient:
        """Return a governor that has not said hello yet."""
        return self._known(GovernorClient(self.channel))

    def leave(self) -> None:
        """Let every governor go."""
        for governor in self.governors:
            governor.leave()

    def _known(self, governor: GovernorClient) -> GovernorClient:
        self.governors.append(governor)
        return governor


@contextmanager
def serving(
    limits: ControlLimits | None = None, *, fixed: bool = False, settings: Sequence[EffectiveSetting] = ()
) -> Iterator[ControlPath]:
    """Serve for a while, and check that nothing is left afterwards; `fixed` serves modules that never move."""
    threads_before = set(threading.enumerate())
    manager = FakeResidencyManager()
    governance = Governance(residency=manager, clock=time.monotonic, fixed=fixed)
    servicer = ResidencyServicer(
        governance=governance, identity=IDENTITY, limits=limits or ControlLimits(), settings=settings
    )
    with tempfile.TemporaryDirectory(prefix="greenroom") as folder:
        server = ControlServer(socket=ControlSocket(Path(folder) / "c.sock"), governance=governance, servicer=servicer)
        server.start()
        try:
            with grpc.insecure_channel(f"unix:{server.socket_path}") as channel:
                yield ControlPath(
                    manager=manager, governance=governance, servicer=servicer, server=server, channel=channel
                )
        finally:
            server.stop()
    eventually(lambda: manager.subscribers == 0)
    eventually(lambda: not [left for left in set(threading.enumerate()) - threads_before if left.name == "governor"])


def at_rest(count: Callable[[], int]) -> int:
    """Wait until a number has stopped changing, and return it."""
    end_seconds = time.monotonic() + PATIENCE_SECONDS
    before, now = -1, count()
    while now != before:
        assert time.monotonic() < end_seconds, "it never came to rest"
        time.sleep(0.3)
        before, now = now, count()
    return now


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something holds; fail if it never does."""
    end_seconds = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end_seconds, "it never came true"
        time.sleep(0.01)
