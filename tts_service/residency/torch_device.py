"""Memory of a torch device: taking it, filling it, giving it back, and waiting for work.

A CPU will do for a device: tests run everything but streams and pinned memory on it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import structlog
import torch

from tts_service.residency.cuda_driver import new_stream
from tts_service.residency.process_share import ProcessShare
from tts_service.residency.types import DeviceUsage

PINNED_FROM_BYTES: Final = 1 << 20
"""Smaller pieces of host memory share their pages with others, and are copied as they are."""

_log = structlog.get_logger(__name__)


class TorchDevice:
    """One device, through torch's own allocator. Copies run on a stream of their own, beside what is computed."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._is_cuda = device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        self._share: ProcessShare | None = None

    def __repr__(self) -> str:
        usage = self.usage()
        return f"<TorchDevice {self.device} | {usage.allocated_bytes >> 20} of {usage.reserved_bytes >> 20} MiB in use>"

    @contextmanager
    def copying(self) -> Iterator[None]:
        """Run what is asked of the device inside beside what is computed; all of it is done at the end."""
        if not self._is_cuda:
            yield
            return
        if self._stream is None:
            self._stream = new_stream(self.device)
        with torch.cuda.stream(self._stream):
            try:
                yield
            finally:
                self._stream.synchronize()

    def filled(self, pieces: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return copies of these pieces of host memory (one dimension of uint8) on the device, within `copying`.

        Raises torch.OutOfMemoryError before anything is copied.
        """
        # Allocated by the stream that fills it: a block that another stream has freed would have to be waited for.
        copies: list[torch.Tensor] = []
        try:
            copies.extend(self.allocated(piece.numel()) for piece in pieces)
        except Exception:
            # The error holds this frame, and would hold what was allocated.
            copies.clear()
            raise
        for copy, piece in zip(copies, pieces, strict=True):
            copy.copy_(piece, non_blocking=True)
        return copies

    def allocated(self, byte_count: int) -> torch.Tensor:
        """Return memory of the device, as one dimension of uint8. Raises torch.OutOfMemoryError."""
        return torch.empty(byte_count, dtype=torch.uint8, device=self.device)

    def pin(self, piece: torch.Tensor) -> bool:
        """Lock a piece of host memory, so that it is copied at the full rate; tells whether that was done."""
        if not self._is_cuda or piece.nbytes < PINNED_FROM_BYTES:
            return False
        result = int(torch.cuda.cudart().cudaHostRegister(piece.data_ptr(), piece.nbytes, 0))  # type: ignore[no-untyped-call]  # torch's.
        if result:
            _log.warning("host_memory_not_pinned", bytes=piece.nbytes, cuda_error=result)
            with suppress(RuntimeError):
                # CUDA keeps the error for this thread's next launch, which must not be a copy's.
                torch.empty(1, device=self.device).zero_().add_(1)
        return not result

    def unpin(self, piece: torch.Tensor) -> None:
        """Unlock a piece of host memory that `pin` has locked; it must be there still."""
        result = int(torch.cuda.cudart().cudaHostUnregister(piece.data_ptr()))  # type: ignore[no-untyped-call]  # torch's.
        if result:
            _log.warning("host_memory_not_unpinned", bytes=piece.nbytes, cuda_error=result)

    def give_back(self) -> None:
        """Return what is free to the driver, for other processes."""
        if self._is_cuda:
            torch.cuda.empty_cache()

    def forget_workspaces(self) -> None:
        """Let go of what cuBLAS keeps for every thread and stream that has multiplied matrices: 8 MiB each.

        Not while anything is computed: who is about to launch a product has the address already.
        """
        if self._is_cuda:
            torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001  # There is no public way.

    def finish_work(self) -> None:
        """Wait until the device has done what is on this thread's current stream. Raises what went wrong in it."""
        if self._is_cuda:
            torch.cuda.current_stream(self.device).synchronize()

    def usage(self) -> DeviceUsage:
        """Return what the process's allocator holds of the device; a CPU keeps no such books."""
        if not self._is_cuda:
            return DeviceUsage(reserved_bytes=0, allocated_bytes=0)
        # Torch's functions for one figure each sort 150 of them first, with Python's lock, in every report and sample.
        books = torch.cuda.memory_stats_as_nested_dict(self.device)
        return DeviceUsage(
            reserved_bytes=_current_bytes(books, "reserved_bytes"),
            allocated_bytes=_current_bytes(books, "allocated_bytes"),
        )

    def examined(self, usage: DeviceUsage) -> DeviceUsage:
        """Return what is held (`usage`) with what takes milliseconds to find out: fragmentation and the context."""
        if not self._is_cuda:
            return usage
        free_bytes, total_bytes = torch.cuda.mem_get_info(self.device)
        return replace(
            usage,
            free_bytes=free_bytes,
            total_bytes=total_bytes,
            largest_free_block_bytes=largest_free_block(torch.cuda.memory_snapshot()),  # type: ignore[no-untyped-call]  # torch's.
            context_bytes=beyond(usage, self._share_bytes(), total_bytes - free_bytes),
        )

    def _share_bytes(self) -> int | None:
        if self._share is None:
            self._share = ProcessShare.of(f"GPU-{torch.cuda.get_device_properties(self.device).uuid}")
        return self._share.held_bytes()


def largest_free_block(segments: Sequence[Mapping[str, Any]]) -> int:
    """Return the largest piece that torch keeps for use, from its snapshot; what pools of graphs keep is theirs."""
    common = (segment for segment in segments if tuple(segment.get("segment_pool_id", (0, 0))) == (0, 0))
    blocks = (block for segment in common for block in segment["blocks"])
    return max((block["size"] for block in blocks if block["state"] == "inactive"), default=0)


def beyond(usage: DeviceUsage, share_bytes: int | None, used_bytes: int) -> int | None:
    """Return what the process holds of the device beyond what it knows of; None if what is said of it cannot be.

    `share_bytes` is what it is said to hold in all, `used_bytes` what all processes hold.
    """
    if share_bytes is None or not usage.reserved_bytes <= share_bytes <= used_bytes:
        return None
    return share_bytes - usage.reserved_bytes


def _current_bytes(books: Mapping[str, Any], figure: str) -> int:
    """Return a figure of the allocator's, 0 before its first use."""
    return int(books[figure]["all"]["current"]) if books else 0
