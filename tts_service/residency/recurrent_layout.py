"""How the weights of recurrent networks must lie.

cuDNN takes them from the first byte of one storage on, in its own order. Where they lie otherwise, torch copies them
together at every call, and warns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from tts_service.residency.module_tensors import torch_modules


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatWeights:
    """How weights lie together: the offset of each, in the order of the network's parameters, and the bytes of all."""

    offsets: tuple[int, ...]
    byte_count: int


Flattening = Callable[[torch.nn.RNNBase], FlatWeights | None]
"""Says how a network's weights must lie; None for anyhow."""


def laid_anyhow(network: torch.nn.RNNBase) -> None:
    """Say that weights may lie anyhow, as on a CPU."""
    del network


def cudnn_flattening(device: torch.device) -> Flattening:
    """Return how cuDNN wants weights on a GPU: as torch lays out an empty network of the same shape there."""

    def flattening(network: torch.nn.RNNBase) -> FlatWeights | None:
        weights = tuple(_empty_like(network, device).parameters())
        storages = {each.untyped_storage().data_ptr(): each.untyped_storage() for each in weights}
        if len(storages) != 1:
            # cuDNN does not take this network (of a dtype that it lacks, say), and torch computes without it.
            return None
        [(begin, storage)] = storages.items()
        return FlatWeights(offsets=tuple(each.data_ptr() - begin for each in weights), byte_count=storage.nbytes())

    return flattening


def flat_weights(module: object, flattening: Flattening) -> list[tuple[Sequence[torch.Tensor], FlatWeights]]:
    """Return the weights of a module's recurrent networks whose places matter, and those places."""
    networks = {
        id(part): part
        for each in torch_modules(module)
        for part in each.modules()
        if isinstance(part, torch.nn.RNNBase)
    }
    asked = ((tuple(network.parameters()), flattening(network)) for network in networks.values())
    return [(weights, flat) for weights, flat in asked if flat is not None]


def _empty_like(network: torch.nn.RNNBase, device: torch.device) -> torch.nn.RNNBase:
    """Return a network of the same shape and dtype on a device, of one of torch's own classes, with nothing filled in.

    Made there and not moved there: what comes from the meta device imports SymPy, 4 s of a start on a slow host.
    """
    kinds = {"LSTM": _EmptyLstm, "GRU": _EmptyGru, "RNN_TANH": _EmptyRnn, "RNN_RELU": _EmptyRnn}
    projected = {"proj_size": network.proj_size} if network.mode == "LSTM" else {}
    made: torch.nn.RNNBase = kinds[network.mode](
        network.input_size,
        network.hidden_size,
        num_layers=network.num_layers,
        bias=network.bias,
        bidirectional=network.bidirectional,
        device=device,
        dtype=next(network.parameters()).dtype,
        **projected,
    )
    return made


class _Empty:
    """Leaves out the numbers that torch fills networks with."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class _EmptyLstm(_Empty, torch.nn.LSTM):
    pass


class _EmptyGru(_Empty, torch.nn.GRU):
    pass


class _EmptyRnn(_Empty, torch.nn.RNN):
    pass
