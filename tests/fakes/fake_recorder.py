"""Captures nothing, but takes memory for it as torch does: in segments, from the addresses of two functions."""

import ctypes
from collections.abc import Callable

import torch

from tts_service.residency.graph_pool import ALLOCATE, Segments
from tts_service.residency.growing_range import GrowingRange
from tts_service.residency.raw_tensor import bytes_over


class FakeRecorder:
    """Work gets `segment_bytes` of its own for each capture, and writes there whenever it is repeated."""

    def __init__(self, device: torch.device, memory: GrowingRange, *, segment_bytes: int = 8192) -> None:
        self._device = device
        self._segments = Segments(memory)
        self._segment_bytes = segment_bytes
        self.warm_ups = 0

    def __repr__(self) -> str:
        return f"<FakeRecorder with {self._segments!r}>"

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run the work."""
        self.warm_ups += 1
        work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Take a segment, and return what runs the work and uses the segment."""
        address = ALLOCATE(self._segments.addresses[0])(self._segment_bytes, 0, ctypes.c_void_p(0))
        if address is None:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        intermediates = bytes_over(self._device, address, self._segment_bytes)

        def replay() -> None:
            intermediates.fill_(1)
            work()

        replay()
        return replay
