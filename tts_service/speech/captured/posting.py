"""Values from the host to a buffer on the device, without waiting for what the device does."""

import torch


def post(values: torch.Tensor, buffer: torch.Tensor) -> None:
    """Copy a tensor of the host to a buffer of its shape, in the order of the current stream.

    From pinned memory, which torch keeps until the copy has been made; from other memory the host would wait.
    """
    if buffer.is_cuda:
        values = values.pin_memory()
    buffer.copy_(values, non_blocking=True)
