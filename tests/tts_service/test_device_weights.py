"""Arenas where memory can be mapped, plain tensors elsewhere, and the log says which and why."""

import torch
from structlog.testing import capture_logs

from tests.fakes.fake_cuda_driver import FakeCudaDriver
from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.cuda_driver import NoVirtualMemoryError
from tts_service.residency.device_driver import DeviceDriver
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.device_weights import device_weights

CPU = torch.device("cpu")


def _cannot_map(device: torch.device) -> DeviceDriver:
    raise NoVirtualMemoryError(f"{device} does not map memory to addresses")


def test_weights_go_into_arenas_where_memory_can_be_mapped() -> None:
    """What was asked of the arenas reaches them."""
    gate = CaptureGate()
    with capture_logs() as logs:
        weights = device_weights(
            CPU, gate=gate, asynchronous=True, finds_strays=True, open_driver=lambda _: FakeCudaDriver()
        )

    assert isinstance(weights, ArenaWeights)
    assert (gate, True, True) == (weights.gate, weights._asynchronous, weights._cover is not None)
    assert ["weights_in_arenas"] == [each["event"] for each in logs]


def test_weights_are_plain_tensors_where_memory_cannot_be_mapped() -> None:
    """The warning says why, and what follows."""
    with capture_logs() as logs:
        weights = device_weights(CPU, gate=CaptureGate(), open_driver=_cannot_map)

    assert isinstance(weights, DeviceTensors)
    assert [("weights_as_plain_tensors", "warning", "cpu does not map memory to addresses")] == [
        (each["event"], each["log_level"], each["reason"]) for each in logs
    ]


def test_weights_are_plain_tensors_where_arenas_are_switched_off() -> None:
    """Nothing is asked of the driver, and it is no warning."""
    with capture_logs() as logs:
        weights = device_weights(CPU, gate=CaptureGate(), arenas=False, open_driver=_cannot_map)

    assert isinstance(weights, DeviceTensors)
    assert ["info"] == [each["log_level"] for each in logs]
