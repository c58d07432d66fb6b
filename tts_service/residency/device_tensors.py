"""Modules on a device as plain tensors: copied there when they are restored, dropped when they are evicted.

The host memory that a module was loaded into stays what it is copied from: weights do not change, so that nothing is
copied back. This class is all that knows how a module is on the device.
"""

import gc
import weakref
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import structlog
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from tts_service.residency.device_driver import DeviceDriverError
from tts_service.residency.module_tensors import ModuleTensors, module_tensors, torch_modules, view_of
from tts_service.residency.torch_device import TorchDevice
from tts_service.residency.types import DeviceUsage
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)


class DeviceTensors:
    """Gives modules tensors on a device for as long as they are there. See `DeviceWeights` for what is promised."""

    def __init__(self, device: TorchDevice, *, collect: Callable[[], int] = gc.collect) -> None:
        self._device = device
        self._collect = collect
        self._there: dict[ModuleName, ModuleTensors] = {}
        self._pinned: dict[ModuleName, list[torch.Tensor]] = {}
        # Memory that is freed while it is locked stays so, and whatever comes to lie there cannot be locked any more.
        weakref.finalize(self, _unpin_all, self._pinned, device)

    def __repr__(self) -> str:
        return f"<DeviceTensors {' '.join(self._there) or 'of nothing'} | {self._device!r}>"

    def weigh(self, module: object) -> int:
        """Return the bytes that a module in host memory will take at most; `restore` says it exactly."""
        recurrent = _recurrent_weights(module) if self._device.device.type == "cuda" else ()
        return module_tensors(module).byte_count + sum(each.nbytes for each in recurrent)

    def admit(self, name: ModuleName, module: object) -> None:
        """Do nothing: what has no addresses of its own has nothing to make."""

    def begin(self, name: ModuleName, module: object) -> None:
        """Begin nothing: whoever allocates waits for what is done with it."""

    def restore(self, name: ModuleName, module: object, *, meanwhile: Callable[[], object] = lambda: None) -> int:
        """Copy a module's tensors to the device, put them in place, and return their bytes."""
        del meanwhile
        assert name not in self._there, f"{name} is on the device already"
        tensors = module_tensors(module)
        self._pin(name, tensors)
        try:
            with self._device.copying():
                _put(tensors, self._device.filled(tensors.pieces))
                _flatten(module)
        except Exception:
            _put_back(tensors)
            self._give_back()
            raise
        self._there[name] = tensors
        return sum(each.nbytes() for each in _storages(tensors))

    def evict(self, name: ModuleName) -> int:
        """Give a module its host memory again, and drop what is on the device; returns what nobody else refers to."""
        tensors = self._there.pop(name)
        traces = [_Trace(each) for each in _storages(tensors)]
        _put_back(tensors)
        if not all(each.is_gone for each in traces):
            self._collect()
        if not all(each.is_gone for each in traces):
            _log.error("device_memory_still_referenced", module=name)
        self._give_back()
        return sum(each.byte_count for each in traces if each.is_gone)

    def forget(self, name: ModuleName) -> None:
        """Unlock a module's host memory, if it has been locked."""
        assert name not in self._there, f"{name} is on the device still"
        _unpin(self._pinned.pop(name, []), self._device)

    def begin_work(self, names: Collection[ModuleName]) -> None:
        """Do nothing: a restore is done when it returns."""

    def end_work(self, names: Collection[ModuleName]) -> None:
        """Wait until the device has done what is on this thread's current stream."""
        del names
        self._device.finish_work()

    def failure(self, name: ModuleName) -> None:
        """Return nothing: here each restore says for itself what is wrong."""

    def fail(self, name: ModuleName, error: DeviceDriverError) -> None:
        """Remember nothing, as for `failure`."""

    def usage(self, *, closely: bool = False) -> DeviceUsage:
        """Return what the process's allocator holds of the device."""
        pinned_bytes = sum(piece.nbytes for pieces in tuple(self._pinned.values()) for piece in pieces)
        usage = replace(self._device.usage(), pinned_host_bytes=pinned_bytes)
        return self._device.examined(usage) if closely else usage

    def give_back(self) -> None:
        """Return what the allocator keeps for use."""
        self._give_back()

    def forget_workspaces(self) -> None:
        """Let go of what libraries keep to compute in."""
        self._device.forget_workspaces()

    def _pin(self, name: ModuleName, tensors: ModuleTensors) -> None:
        if name not in self._pinned:
            filled = (piece for piece in tensors.pieces if piece.nbytes)
            self._pinned[name] = [piece for piece in filled if self._device.pin(piece)]

    def _give_back(self) -> None:
        try:
            self._device.give_back()
        except RuntimeError:
            # A device that has failed does not keep a module from its host memory.
            _log.exception("device_memory_not_given_back")


def _unpin_all(pinned: dict[ModuleName, list[torch.Tensor]], device: TorchDevice) -> None:
    while pinned:
        _unpin(pinned.popitem()[1], device)


def _unpin(pieces: Sequence[torch.Tensor], device: TorchDevice) -> None:
    for piece in pieces:
        device.unpin(piece)


class _Trace:
    """What stays known of memory on the device without keeping it alive."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.byte_count = storage.nbytes()
        self._storage = StorageWeakRef(storage)  # type: ignore[no-untyped-call]  # torch's.

    def __repr__(self) -> str:
        return f"<_Trace {self.byte_count} bytes | {'gone' if self.is_gone else 'there'}>"

    @property
    def is_gone(self) -> bool:
        return bool(self._storage.expired())  # type: ignore[no-untyped-call]  # torch's.


def _storages(tensors: ModuleTensors) -> list[torch.UntypedStorage]:
    """Return the memory that a module's tensors are in now, each piece once."""
    storages = (view.tensor.untyped_storage() for view in tensors.views)
    return list({each.data_ptr(): each for each in storages}.values())


def _put(tensors: ModuleTensors, copies: Sequence[torch.Tensor]) -> None:
    for view in tensors.views:
        view.tensor.data = view_of(view, copies)


def _put_back(tensors: ModuleTensors) -> None:
    for view in tensors.views:
        view.tensor.data = view.host


def _flatten(module: object) -> None:
    """Let recurrent networks lay their weights out as cuDNN wants them: in one piece of its own. No-op elsewhere."""
    for each in torch_modules(module):
        for part in each.modules():
            if isinstance(part, torch.nn.RNNBase):
                part.flatten_parameters()


def _recurrent_weights(module: object) -> tuple[torch.Tensor, ...]:
    parts = (part for each in torch_modules(module) for part in each.modules())
    return tuple(weight for part in parts if isinstance(part, torch.nn.RNNBase) for weight in part.parameters())
