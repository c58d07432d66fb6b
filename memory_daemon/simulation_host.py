"""Host memory beside a simulated GPU: what others use of it is the trace's, what masters take is the policy's doing.

Pure. How long processes wait for it is told as it was recorded: what another policy would have changed about that
cannot be known.
"""

from collections.abc import Iterable

from memory_daemon.simulation_service import SimulatedService
from memory_daemon.simulation_trace import HostStands
from memory_daemon.usage import HostReading


def host_reading(
    stands: HostStands | None, services: Iterable[SimulatedService], unix_seconds: float
) -> HostReading | None:
    """Return what a policy would read; None where the trace tells nothing."""
    if stands is None:
        return None
    ours_bytes = sum(service.host_bytes for service in services)
    return HostReading(
        unix_seconds=unix_seconds,
        total_bytes=stands.total_bytes,
        free_bytes=max(0, stands.total_bytes - stands.used_bytes - ours_bytes),
        some_percent=stands.some_percent,
        full_percent=stands.full_percent,
    )
