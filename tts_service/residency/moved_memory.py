"""What a mover needs of the memories between which it moves: the process's, and a device's."""

from collections.abc import Callable, Collection
from typing import Protocol

from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.types import DeviceUsage
from tts_service.types import ModuleName


class Memory(Protocol):
    """What a mover needs of the process's memory."""

    def resident_bytes(self) -> int:
        """Return the resident set; 0 where it is unknown."""
        ...

    def give_back(self) -> None:
        """Return freed memory to the operating system."""
        ...


class DeviceWeights(Protocol):
    """What a mover needs of a device: weights that come from a module's host memory and go again.

    The module is the same object all the time. Each is called by one thread at a time, but for `begin_work` and
    `end_work`.
    """

    def weigh(self, module: object) -> int:
        """Return the bytes that a module in host memory will take, or TypeError if it is nothing that can go there."""
        ...

    def admit(self, name: ModuleName, module: object) -> None:
        """Do for a module in host memory what its first restore would do else. If it raises, nothing has been done."""
        ...

    def begin(self, name: ModuleName, module: object) -> None:
        """Begin to bring a module, if that can be done, for a `restore` that follows in any case. Raises nothing."""
        ...

    def restore(self, name: ModuleName, module: object, *, meanwhile: Callable[[], object] = ...) -> int:
        """Put a module's weights on the device and return their bytes; done when it returns.

        `meanwhile` is called once while they are copied, if anybody waits for that. If it raises, the module is in host
        memory as before and the device holds nothing of it.
        """
        ...

    def evict(self, name: ModuleName) -> int:
        """Let a module use its host memory again, copying nothing, and return the bytes that were given back."""
        ...

    def forget(self, name: ModuleName) -> None:
        """Let go of a module's host memory, which is about to be dropped."""
        ...

    def begin_work(self, names: Collection[ModuleName]) -> None:
        """Let what this thread will ask of the device come after what brings these modules there.

        Raises DeviceDriverError, and then nothing has begun.
        """
        ...

    def end_work(self, names: Collection[ModuleName]) -> None:
        """Let modules stay until the device has done what this thread has asked of it; may wait for that.

        Raises what went wrong on the device. The use has ended all the same.
        """
        ...

    def failure(self, name: ModuleName) -> Exception | None:
        """Return what keeps a module from the device for good, None if nothing does."""
        ...

    def fail(self, name: ModuleName, error: DeviceDriverError) -> None:
        """Keep a module from the device for good: what was done with it there has failed."""
        ...

    def usage(self, *, closely: bool = False) -> DeviceUsage:
        """Return what the process holds of the device; `closely` with what takes milliseconds to find out."""
        ...

    def give_back(self) -> None:
        """Return to the device what its allocator keeps for use."""
        ...

    def forget_workspaces(self) -> None:
        """Let go of what libraries keep to compute in, while nothing is computed. Must be quick."""
        ...
