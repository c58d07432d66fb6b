"""A memory daemon that does what a test tells it: one stream of `Govern` over a real socket."""

import queue
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from greenroom.memory.v1 import residency_pb2 as pb
from greenroom.memory.v1 import residency_pb2_grpc


def reason_of(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    """Return the ErrorInfo of a status."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details if detail.Is(info.DESCRIPTOR))
    return info


def failure_of(call: Any) -> tuple[grpc.StatusCode, str, dict[str, str]]:
    """Return code, reason and metadata of a call that failed, or of its error."""
    status = rpc_status.from_call(call)
    assert status is not None, (call.code(), call.details())
    info = reason_of(status)
    assert info.domain == "greenroom"
    return call.code(), info.reason, dict(info.metadata)


class GovernorClient:
    """One governor's stream. It reads only when asked, so that a test can be slow on purpose."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[pb.GovernRequest | None] = queue.SimpleQueue()
        self.call = residency_pb2_grpc.ResidencyServiceStub(channel).Govern(iter(self._requests.get, None), timeout=60)

    def __repr__(self) -> str:
        return f"<GovernorClient waiting={self._requests.qsize()}>"

    def send(self, request: pb.GovernRequest) -> None:
        """Say anything."""
        self._requests.put(request)

    def hello(self, holder_id: str = "daemon", *, takeover: bool = False) -> pb.Welcome:
        """Introduce itself and return the welcome."""
        self.send(pb.GovernRequest(hello=pb.Hello(holder_id=holder_id, takeover=takeover)))
        return self.read_until(lambda response: response.HasField("welcome")).welcome

    def direct(
        self,
        epoch: int,
        version: int,
        *placements: tuple[str, int],
        valid_for_seconds: float = 10.0,
        budget_bytes: int | None = None,
    ) -> pb.GovernResponse:
        """Send a directive and return its ack or nack."""
        self.send(
            directive_request(
                epoch, version, *placements, valid_for_seconds=valid_for_seconds, budget_bytes=budget_bytes
            )
        )
        return self.read_until(lambda response: response.WhichOneof("response") in {"ack", "nack"})

    def read_until(self, wanted: Callable[[pb.GovernResponse], bool]) -> pb.GovernResponse:
        """Read on to the first response that is wanted."""
        for response in self.call:
            if wanted(response):
                return response
        raise AssertionError("the stream ended")

    def reports(self) -> Iterator[pb.ResidencyReport]:
        """Read on, and return the reports."""
        for response in self.call:
            if response.HasField("report"):
                yield response.report

    def failure(self) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """Read to the end and return how it failed."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            return failure_of(error)
        raise AssertionError("the stream ended well")

    def half_close(self) -> None:
        """Say that nothing more will be said."""
        self._requests.put(None)

    def leave(self) -> None:
        """Break the stream."""
        self.call.cancel()
        self.half_close()


def directive_request(
    epoch: int,
    version: int,
    *placements: tuple[str, int],
    valid_for_seconds: float = 10.0,
    budget_bytes: int | None = None,
) -> pb.GovernRequest:
    """Return the message of a directive."""
    valid_for = Duration()
    valid_for.FromNanoseconds(round(valid_for_seconds * 1e9))
    return pb.GovernRequest(
        directive=pb.Directive(
            epoch=epoch,
            version=version,
            valid_for=valid_for,
            budget_bytes=budget_bytes,
            placements=[pb.Placement(module=module, tier=pb.Tier.ValueType(tier)) for module, tier in placements],
        )
    )
