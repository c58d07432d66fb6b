"""A neighbour that takes memory of a GPU and gives it back, in a process of its own, one command a line of its input.

`python -m tests.fakes.hog_process UUID` takes plain allocations of the driver; without a UUID it only books. Commands:
`take BYTES` (the driver's status, 0 for success), `free` (everything), `held` (bytes).
"""

import importlib
import json
import sys
from typing import Any, Protocol

OUT_OF_MEMORY = 2


class Allocator(Protocol):
    """Takes memory and gives it back."""

    def take(self, size_bytes: int) -> int:
        """Return the status: 0 for success."""

    def free(self) -> None:
        """Give everything back."""


class Booked:
    """Takes nothing."""

    def __repr__(self) -> str:
        return "<Booked>"

    def take(self, size_bytes: int) -> int:
        """Succeed."""
        del size_bytes
        return 0

    def free(self) -> None:
        """Give nothing back."""


class Allocated:
    """Takes memory of one GPU in pieces that the driver allocates, never managed ones."""

    def __init__(self, uuid: str) -> None:
        self._cuda = importlib.import_module("cuda.bindings.driver")
        self._addresses: list[Any] = []
        self._call("cuInit", 0)
        self._call("cuCtxSetCurrent", self._call("cuDevicePrimaryCtxRetain", self._device(uuid)))

    def __repr__(self) -> str:
        return f"<Allocated {len(self._addresses)} pieces>"

    def take(self, size_bytes: int) -> int:
        """Return the driver's status."""
        status, address = self._cuda.cuMemAlloc(size_bytes)
        if int(status) == 0:
            self._addresses.append(address)
        return int(status)

    def free(self) -> None:
        """Give everything back."""
        while self._addresses:
            self._call("cuMemFree", self._addresses.pop())

    def _device(self, uuid: str) -> Any:
        """Return the device of that name, as the driver numbers those that are visible; the only one if none has it."""
        devices = [self._call("cuDeviceGet", number) for number in range(self._call("cuDeviceGetCount"))]
        wanted = uuid.removeprefix("GPU-").replace("-", "")
        named = [one for one in devices if bytes(self._call("cuDeviceGetUuid", one).bytes).hex() == wanted]
        return (named or devices)[0]

    def _call(self, name: str, *arguments: object) -> Any:
        status, *values = getattr(self._cuda, name)(*arguments)
        if int(status) != 0:
            raise RuntimeError(f"{name} failed with {status}")
        return values[0] if values else None


def answer(allocator: Allocator, held_bytes: int, words: list[str]) -> tuple[int, int]:
    """Carry out a command; return what is held then, and what there is to say."""
    match words:
        case ["take", size]:
            status = allocator.take(int(size))
            return held_bytes + (0 if status else int(size)), status
        case ["free"]:
            allocator.free()
            return 0, 0
        case ["held"]:
            return held_bytes, held_bytes
        case _:
            raise SystemExit(f"no such command: {words}")


def main() -> None:
    """Answer commands until there are no more."""
    allocator: Allocator = Allocated(sys.argv[1]) if sys.argv[1:] else Booked()
    held_bytes = 0
    for line in sys.stdin:
        held_bytes, said = answer(allocator, held_bytes, line.split())
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
