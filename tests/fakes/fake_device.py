"""A device of a few bytes in host memory: the same code as for a GPU, with a capacity, books and faults."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef

from tts_service.residency.torch_device import TorchDevice
from tts_service.residency.types import DeviceUsage


class FakeDevice(TorchDevice):
    """Takes no more than `capacity_bytes` in all, None for no bound, and knows what is still alive of it.

    What is freed counts as reserved until it is given back. `faults` are raised by the next allocations, `work_faults`
    by the next waits for work, one each. `pinned` are the addresses of locked host memory.
    """

    def __init__(self, capacity_bytes: int | None = None) -> None:
        super().__init__(torch.device("cpu"))
        self.capacity_bytes = capacity_bytes
        self.faults: list[Exception] = []
        self.work_faults: list[Exception] = []
        self.pinned: list[int] = []
        self.waits = 0
        self._taken: list[tuple[StorageWeakRef, int]] = []
        self._reserved_bytes = 0
        self._workspaces: list[torch.Tensor] = []

    def __repr__(self) -> str:
        return f"<FakeDevice {self.usage()} | {len(self.pinned)} pinned>"

    def allocated(self, byte_count: int) -> torch.Tensor:
        """Allocate within the capacity."""
        if self.faults:
            raise self.faults.pop(0)
        if self.capacity_bytes is not None and self._alive_bytes() + byte_count > self.capacity_bytes:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is.")
        memory = super().allocated(byte_count)
        self._taken.append((StorageWeakRef(memory.untyped_storage()), byte_count))  # type: ignore[no-untyped-call]  # torch's.
        self._reserved_bytes = max(self._reserved_bytes, self._alive_bytes())
        return memory

    def pin(self, piece: torch.Tensor) -> bool:
        """Lock host memory, but none twice."""
        assert piece.data_ptr() not in self.pinned
        self.pinned.append(piece.data_ptr())
        return True

    def unpin(self, piece: torch.Tensor) -> None:
        """Unlock what was locked."""
        self.pinned.remove(piece.data_ptr())

    def multiply(self, workspace_bytes: int) -> None:
        """Compute as libraries do that keep memory to compute in."""
        self._workspaces.append(self.allocated(workspace_bytes))

    def forget_workspaces(self) -> None:
        """Let go of what libraries keep; it is free then, and nobody's."""
        self._workspaces.clear()

    def give_back(self) -> None:
        """Return what is free."""
        self._reserved_bytes = self._alive_bytes()

    def finish_work(self) -> None:
        """Wait for nothing, and count it."""
        self.waits += 1
        if self.work_faults:
            raise self.work_faults.pop(0)

    def usage(self) -> DeviceUsage:
        """Say what is alive, and what has not been given back."""
        return DeviceUsage(reserved_bytes=self._reserved_bytes, allocated_bytes=self._alive_bytes())

    def _alive_bytes(self) -> int:
        self._taken = [(storage, count) for storage, count in self._taken if not storage.expired()]  # type: ignore[no-untyped-call]  # torch's.
        return sum(count for _, count in self._taken)
