"""Small torch modules with all that makes copying weights hard, and a residency over them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import torch

from tts_service.models.module_spec import ModuleSpec
from tts_service.residency.device_tensors import DeviceTensors
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.torch_device import TorchDevice
from tts_service.residency.types import Tier
from tts_service.types import ModuleName

DEVICE_TIERS = (Tier.DEVICE, Tier.HOST, Tier.DISK)


class TinyNetwork(torch.nn.Module):
    """A network with tied weights, one of them transposed, a buffer that is not stored, an LSTM and half floats."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding = torch.nn.Embedding(11, width)
            self.inner = torch.nn.Linear(width, width)
            self.recurrent = torch.nn.LSTM(width, width, batch_first=True)
            self.head = torch.nn.Linear(width, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.register_parameter("mirror", torch.nn.Parameter(self.inner.weight.data.t(), requires_grad=False))
        self.register_buffer("scale", torch.linspace(0.5, 1.5, width, dtype=torch.float16), persistent=False)
        self.register_buffer("step", torch.tensor(seed), persistent=True)
        self.register_buffer("nothing", torch.empty(0, 3))
        self.requires_grad_(requires_grad=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return logits for tokens."""
        hidden = self.inner(self.embedding(tokens)) @ self.mirror * self.scale.float() + self.step
        logits: torch.Tensor = self.head(self.recurrent(hidden)[0])
        return logits


class PackedNetwork(TinyNetwork):
    """The same with all tensors but one as views of one piece of memory, as a loader may leave them."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__(width, seed)
        weights = {id(each): each for each in self.parameters()}.values()
        memory = torch.zeros(sum(each.nbytes + 512 for each in weights) + 512, dtype=torch.uint8)
        offset = 512
        for weight in weights:
            begin = offset
            offset += -(-weight.nbytes // 512) * 512
            packed = memory[begin : begin + weight.nbytes].view(weight.dtype).view(weight.shape)
            weight.data = packed.copy_(weight.data)
        self.mirror.data = self.inner.weight.data.t()


class NetworkHolder:
    """No torch module itself, but an owner of two."""

    def __init__(self, width: int, seed: int) -> None:
        self.first, self.second = TinyNetwork(width, seed), TinyNetwork(width, seed + 1)

    def __repr__(self) -> str:
        return "<NetworkHolder of 2>"

    def torch_modules(self) -> Iterable[torch.nn.Module]:
        """Return both."""
        return (self.first, self.second)

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return both outputs together."""
        both: torch.Tensor = self.first(tokens) + self.second(tokens)
        return both


MAKERS: Mapping[str, Callable[[], object]] = {
    "a": lambda: TinyNetwork(8, 1),
    "b": lambda: PackedNetwork(12, 2),
    "c": lambda: NetworkHolder(8, 3),
    "d": lambda: PackedNetwork(16, 4),
}
NETWORKS = tuple(ModuleName(name) for name in MAKERS)


def networks_of(module: object) -> tuple[torch.nn.Module, ...]:
    """Return the torch modules of a module."""
    return (module,) if isinstance(module, torch.nn.Module) else tuple(module.torch_modules())  # type: ignore[attr-defined]  # A NetworkHolder.


def device_of(module: object) -> torch.device:
    """Return the device that a module's weights are on."""
    return next(networks_of(module)[0].parameters()).device


def weights_of(module: object) -> list[torch.Tensor]:
    """Return copies of all weights and buffers in host memory, in order."""
    return [
        tensor.detach().cpu().clone()
        for network in networks_of(module)
        for tensor in (*network.parameters(), *network.buffers())
    ]


def output_of(module: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> torch.Tensor:
    """Return what a module computes from always the same tokens."""
    with torch.inference_mode():
        return module(torch.arange(7, device=device).reshape(1, 7)).cpu()


def is_tied(module: object) -> bool:
    """Tell whether what shares memory by construction shares it now."""
    networks: Iterable[Any] = networks_of(module)
    return all(
        network.head.weight is network.embedding.weight
        and network.mirror.data_ptr() == network.inner.weight.data_ptr()
        and network.mirror.untyped_storage().data_ptr() == network.inner.weight.untyped_storage().data_ptr()
        for network in networks
    )


class NoMemory:
    """A process whose memory nobody reads."""

    def resident_bytes(self) -> int:
        """Return nothing."""
        return 0

    def give_back(self) -> None:
        """Do nothing."""


def device_residency(
    device: TorchDevice,
    *,
    clock: Callable[[], float],
    makers: Mapping[str, Callable[[], object]] = MAKERS,
    rest_away: Collection[str] = (),
    budget_bytes: int | None = None,
    pinned: Collection[str] = (),
    stay_seconds: float = 0.0,
    rest_tiers: Mapping[str, Tier] | None = None,
) -> ResidencyManager:
    """Return a manager over small networks whose home is a device, not started; each holds 100 bytes of the host."""
    return ResidencyManager(
        [
            ModuleSpec(name=ModuleName(name), load=make, rests_at_home=name not in rest_away, home_bytes=100)
            for name, make in makers.items()
        ],
        mover=Mover(memory=NoMemory(), clock=clock, collect=lambda: 0, device=DeviceTensors(device)),
        tiers=DEVICE_TIERS,
        budget_bytes=budget_bytes,
        pinned_modules=tuple(ModuleName(name) for name in pinned),
        rest_tiers={ModuleName(name): tier for name, tier in (rest_tiers or {}).items()},
        linger_seconds=10.0,
        stay_seconds=stay_seconds,
        clock=clock,
        wall_clock=lambda: 1_700_000_000.0 + clock(),
    )
