"""What came of predictions, and how devices are divided: value to message."""

from collections.abc import Iterable, Iterator

from greenroom.memory.v1 import policy_pb2
from memory_daemon.board import DeviceStatus
from memory_daemon.predictions import Ground, Tally


def tally_messages(devices: Iterable[DeviceStatus]) -> Iterator[policy_pb2.PredictionTally]:
    """Yield how often modules came home ahead of need, for each device and each reason."""
    for device in devices:
        for ground in Ground:
            tally = device.predictions.tallies.get(ground, Tally())
            waiting = [one for one in device.predictions.open if one.ground is ground]
            yield policy_pb2.PredictionTally(
                device=device.sample.device,
                ground=ground.value,
                hits=tally.hits,
                misses=tally.misses,
                open=[f"{one.service}/{one.module}" for one in waiting],
            )


def ledger_messages(devices: Iterable[DeviceStatus]) -> Iterator[policy_pb2.Ledger]:
    """Yield how each device that several services share is divided."""
    for device in devices:
        if device.budgets:
            yield policy_pb2.Ledger(
                device=device.sample.device,
                budget_bytes={str(service): size_bytes for service, size_bytes in device.budgets.items()},
                overdraft_bytes=device.overdraft_bytes,
            )
