"""Modules in host memory and on a device, moved by the product's own mover of tensors, without its manager."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from tts_service.models.chatterbox.loading import ModelWeights
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.torch_device import TorchDevice
from tts_service.types import ModuleName


class PlainResidency:
    """All of a model's modules; those in `there` are on the device."""

    def __init__(self, weights: ModelWeights, device: str) -> None:
        self.there: dict[ModuleName, Any] = {}
        self._loaded: dict[ModuleName, Any] = {name: weights.load(name) for name in weights.modules}
        self._tensors = DeviceTensors(TorchDevice(torch.device(device)))

    def __repr__(self) -> str:
        return f"<PlainResidency {self._tensors!r}>"

    def bring(self, names: Iterable[ModuleName]) -> Mapping[ModuleName, Any]:
        """Bring modules to the device, unless they are there; return all that are."""
        for name in names:
            if name not in self.there:
                self._tensors.restore(name, self._loaded[name])
                self.there[name] = self._loaded[name]
        return self.there

    def send_away(self, names: Iterable[ModuleName]) -> None:
        """Let modules leave the device; nothing is copied back."""
        for name in names:
            if self.there.pop(name, None) is not None:
                self._tensors.end_work([name])
                self._tensors.evict(name)
