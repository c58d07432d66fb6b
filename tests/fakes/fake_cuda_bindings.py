"""CUDA's bindings without a GPU: the real structures and enumerations, and functions that note how they are called."""

import importlib
from collections.abc import Callable
from typing import Any


class FakeCudaBindings:
    """Answers every `cu...` call with success and what `answers` has for it, or with the status in `statuses`.

    `calls` are the names and arguments of all calls.
    """

    def __init__(self) -> None:
        self._real = importlib.import_module("cuda.bindings.driver")
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.statuses: dict[str, str] = {}
        self.answers: dict[str, Any] = {
            "cuDeviceGet": 0,
            "cuDeviceGetAttribute": 1,
            "cuDevicePrimaryCtxRetain": "context",
            "cuMemGetAllocationGranularity": 1 << 21,
            "cuMemAddressReserve": 1 << 40,
            "cuMemCreate": 77,
            "cuCtxGetLimit": 512,
        }

    def __repr__(self) -> str:
        return f"<FakeCudaBindings {len(self.calls)} calls>"

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._noting(name) if name.startswith("cu") else real

    def _noting(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, arguments))
            status = getattr(self._real.CUresult, self.statuses.get(name, "CUDA_SUCCESS"))
            return (status, self.answers[name]) if name in self.answers else (status,)

        return call
