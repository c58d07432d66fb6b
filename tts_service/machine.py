"""What the machine has for modules: tiers, devices, and what moves modules between them."""

import time

import torch

from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.torch_device import TorchDevice
from tts_service.residency.types import Device, Tier

HOST = Device(device_id="host", tier=Tier.HOST, display_name="host memory")


def tiers_of(device: torch.device) -> tuple[Tier, ...]:
    """Return the tiers, home first: a module's home is where it computes."""
    return (Tier.DEVICE, Tier.HOST, Tier.DISK) if device.type == "cuda" else (Tier.HOST, Tier.DISK)


def devices_of(device: torch.device) -> tuple[Device, ...]:
    """Return the memories that modules can be in; a GPU by its UUID as NVML writes it."""
    if device.type != "cuda":
        return (HOST,)
    properties = torch.cuda.get_device_properties(device)
    return (Device(device_id=f"GPU-{properties.uuid}", tier=Tier.DEVICE, display_name=properties.name), HOST)


def fix_kernels() -> None:
    """Have cuDNN take only kernels that give the same bits every time, as invariant 4 wants it.

    Without this, the vocoder's transposed convolutions add in another order in every run; with it an utterance took no
    longer (H100, English at full size).
    """
    torch.backends.cudnn.deterministic = True


def mover_for(device: torch.device, memory: ProcessMemory) -> Mover:
    """Return what moves modules to this device and back; `memory` was made before the process had other threads."""
    weights = DeviceTensors(TorchDevice(device)) if device.type == "cuda" else None
    return Mover(memory=memory, clock=time.perf_counter, device=weights)
