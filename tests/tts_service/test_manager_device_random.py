"""Random operations on torch modules that move between three tiers, with what must always hold checked after each."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.fakes.fake_device import FakeDevice
from tests.fakes.network_operations import NetworkOperations
from tests.fakes.torch_networks import MAKERS, device_residency
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.types import ResidencyReport, Tier

SIZES = {name: DeviceTensors(FakeDevice()).weigh(make()) for name, make in MAKERS.items()}


class DeviceOperations(NetworkOperations):
    """On a device of plain tensors."""

    def __init__(self, seed: int) -> None:
        self.device = FakeDevice()
        super().__init__(seed, sizes=SIZES)

    def manager_over(self) -> ResidencyManager:
        """Return a manager whose home is the device."""
        return device_residency(self.device, clock=self.clock, rest_away={"d"}, stay_seconds=2.0)

    def fail(self) -> None:
        """Let the device be full, or fail once."""
        self.device.capacity_bytes = self.random.choice(self.capacities)
        self.device.faults = self.random.choice(([], [RuntimeError("failed on purpose")]))

    def heal(self) -> None:
        """Let the device have room."""
        self.device.capacity_bytes, self.device.faults = None, []

    def check(self) -> ResidencyReport:
        """Check the device's books besides."""
        report = super().check()
        assert report.home_bytes == self.device.usage().allocated_bytes
        assert report.device is not None
        assert report.device.allocated_bytes == report.device.reserved_bytes
        return report


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    """Keep some thousand events out of the way."""
    with capture_logs():
        yield


@settings(max_examples=12, deadline=None)
@given(st.integers(min_value=0))
def test_modules_are_the_same_after_any_sequence_of_moves(seed: int) -> None:
    """Nothing in use moves, the device holds what is reported and no more than the budget, and no bit changes."""
    operations = DeviceOperations(seed)
    for _ in range(120):
        operations.step()
        operations.check()
    operations.finish()
    operations.check_bits()
    where = operations.tiers()

    assert [Tier.DEVICE] * 3 == where[:3]
    assert where[3] in (Tier.DEVICE, Tier.HOST)
