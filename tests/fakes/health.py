"""What the standard health check of a running service says."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


def health(address: str) -> int | None:
    """Return the status of the whole server; None while nobody answers."""
    with grpc.insecure_channel(address) as channel:
        try:
            status: int = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1.0).status
        except grpc.RpcError:
            return None
        return status
