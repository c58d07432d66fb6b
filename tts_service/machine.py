"""What the machine has for modules: tiers, devices, and what moves modules between them."""

import time
from collections.abc import Callable

import structlog
import torch

from tts_service.residency.arena_weights import ArenaWeights
from tts_service.residency.capture_gate import CaptureGate
from tts_service.residency.cuda_driver import lower_context_limits
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.device_weights import device_weights
from tts_service.residency.free_host_memory import free_host_bytes
from tts_service.residency.moved_memory import DeviceWeights
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Device, Tier
from tts_service.spans import NO_SPANS, SpanLog

_log = structlog.get_logger(__name__)

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


def free_memory_of(device: torch.device) -> Callable[[], int | None]:
    """Return what tells how much memory is free where modules compute; None where that is unknown."""
    if device.type != "cuda":
        return free_host_bytes
    return lambda: torch.cuda.mem_get_info(device)[0]


def fix_kernels() -> None:
    """Have cuDNN take only kernels that give the same bits every time, as invariant 4 wants it.

    Without this, the vocoder's transposed convolutions add in another order in every run; with it an utterance took no
    longer (H100, English at full size).
    """
    torch.backends.cudnn.deterministic = True


def settle_computing() -> None:
    """Settle how torch computes in a process that does; before it computes anything."""
    fix_kernels()
    torch.set_num_threads(1)  # Many small steps side by side; one thread each also keeps the bits the same.


def settle_context(device: torch.device) -> None:
    """Make a GPU's context small, before torch makes it; elsewhere this does nothing."""
    if device.type == "cuda":
        _log.info("context_limits", **lower_context_limits(device.index or 0))


def open_device(device: torch.device) -> None:
    """Make a GPU's context, a small one, and let torch find it; elsewhere this does nothing."""
    settle_context(device)
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's.
        torch.cuda.mem_get_info(device)


def load_libraries(device: torch.device) -> None:
    """Have cuBLAS and cuDNN loaded by using each part of them once; elsewhere this does nothing.

    cuDNN's part for recurrent networks alone takes 3 s on a slow host, which the first such module would wait for.
    """
    if device.type != "cuda":
        return
    with torch.inference_mode():
        ones = torch.ones(1, 8, 8, device=device)
        torch.nn.functional.conv1d(torch.matmul(ones, ones), ones)
        torch.nn.LSTM(8, 8, device=device)
        torch.cuda.synchronize(device)


def weights_for(
    device: torch.device, *, arenas: bool = True, asynchronous: bool = False
) -> ArenaWeights | DeviceTensors | None:
    """Return what brings weights to this device, None for a CPU, where they are at home in host memory.

    In arenas, its `gate` is the device's: whoever captures graphs takes turns there, and `space` makes scratch memory.
    """
    if device.type != "cuda":
        return None
    return device_weights(device, gate=CaptureGate(), arenas=arenas, asynchronous=asynchronous)


def mover_for(weights: DeviceWeights | None, memory: ProcessMemory, spans: SpanLog = NO_SPANS) -> Mover:
    """Return what moves modules, to a device and back if there is one.

    `memory` was made before the process had other threads.
    """
    return Mover(memory=memory, clock=time.perf_counter, device=weights, spans=spans)
