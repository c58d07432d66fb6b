"""What the loop keeps of a device between two ticks, and what is made of it for a decision and for those who watch."""

from collections.abc import Mapping
from dataclasses import dataclass

from memory_daemon.board import DeviceStatus
from memory_daemon.calm import Calm
from memory_daemon.decision import Decision
from memory_daemon.link_view import LinkView
from memory_daemon.orders import DeviceState, ServiceView
from memory_daemon.types import DeviceId, Sample, SampleFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One device between ticks: what the policy remembers, and what was read and decided last.

    `calm`: nothing followed from it. `anew`: it was decided in the last tick, and not only a reading taken in.
    """

    state: DeviceState
    sample: Sample
    decision: Decision
    calm: Calm | None = None
    anew: bool = True


def seen_on(device: DeviceId, views: tuple[LinkView, ...], floors_bytes: Mapping[str, int]) -> tuple[ServiceView, ...]:
    """Return what a decision sees of the services that compute on a device."""
    return tuple(
        ServiceView(
            service=view.service,
            instance_id=view.instance_id,
            tier=view.device.tier,
            report=view.report,
            floor_bytes=floors_bytes.get(view.service, 0),
            refusal=view.refusal,
            trimmed=view.trimmed,
        )
        for view in views
        if view.governed and view.report is not None and view.device.device == device
    )


def device_status(watched: Watched) -> DeviceStatus:
    """Return a device as those see it who watch."""
    return DeviceStatus(
        sample=watched.sample,
        pressure=watched.decision.pressure,
        marks=watched.decision.marks,
        predictions=watched.state.predictions,
        budgets=watched.state.budgets,
        overdraft_bytes=watched.state.overdraft_bytes,
    )


def device_words(watched: Watched) -> str:
    """Say how a device stands, in a few words."""
    sample = watched.sample
    if isinstance(sample, SampleFailed):
        return f"{sample.device} unreadable: {sample.reason}"
    return f"{sample.device} {watched.decision.pressure.value}"
