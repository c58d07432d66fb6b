"""Which way weights take to a device: into arenas where memory can be mapped, as plain tensors elsewhere."""

from collections.abc import Callable

import structlog
import torch

from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.cuda_driver import CudaDriver, NoVirtualMemoryError
from tts_service.residency.device_driver import DeviceDriver
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.torch_device import TorchDevice

_log = structlog.get_logger(__name__)


def device_weights(
    device: torch.device,
    *,
    gate: CaptureGate,
    arenas: bool = True,
    asynchronous: bool = False,
    finds_strays: bool = False,
    open_driver: Callable[[torch.device], DeviceDriver] = CudaDriver.open,
) -> ArenaWeights | DeviceTensors:
    """Return what brings weights to a GPU. Without `arenas`, or where memory cannot be mapped, addresses change.

    The log says which it is, and why. `gate`, `asynchronous` and `finds_strays` are the arenas'; `open_driver`
    raises NoVirtualMemoryError where memory cannot be mapped.
    """
    plain = TorchDevice(device)
    if not arenas:
        _log.info("weights_as_plain_tensors", reason="arenas are switched off")
        return DeviceTensors(plain)
    try:
        driver = open_driver(device)
    except NoVirtualMemoryError as error:
        _log.warning("weights_as_plain_tensors", reason=str(error), consequence="CUDA graphs end with every eviction")
        return DeviceTensors(plain)
    _log.info("weights_in_arenas", granule_bytes=driver.granularity_bytes)
    return ArenaWeights(driver, plain, gate=gate, asynchronous=asynchronous, finds_strays=finds_strays)
