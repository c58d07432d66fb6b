"""What T3's attention remembers of one segment: keys and values of every position, layer by layer, in plain tensors."""

import torch

BLOCK_POSITIONS = 256
"""A layer's memory grows by as many positions: 10 s of speech. In fp32 a block of all 30 layers with guidance is
120 MiB at full size."""


class KeyValueCache:
    """Keys and values (rows, heads, positions, head channels) of each layer; contents are valid up to `positions`."""

    def __init__(self) -> None:
        self.positions = 0
        self._layers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def extended(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a layer's new positions after those that are valid; return all of them. Layers come in order."""
        end = self.positions + keys.shape[2]
        if layer == len(self._layers):
            self._layers.append((_room(keys, end), _room(values, end)))
        elif self._layers[layer][0].shape[2] < end:
            self._layers[layer] = (self._grown(self._layers[layer][0], end), self._grown(self._layers[layer][1], end))
        all_keys, all_values = self._layers[layer]
        all_keys[:, :, self.positions : end] = keys
        all_values[:, :, self.positions : end] = values
        return all_keys[:, :, :end], all_values[:, :, :end]

    def advance(self, count: int) -> None:
        """Say that every layer has these new positions."""
        self.positions += count

    @property
    def bytes(self) -> int:
        """Memory held, valid or not."""
        return sum(each.nbytes for pair in self._layers for each in pair)

    def _grown(self, held: torch.Tensor, positions: int) -> torch.Tensor:
        room = _room(held, positions)
        room[:, :, : self.positions] = held[:, :, : self.positions]
        return room

    def __repr__(self) -> str:
        return f"<KeyValueCache {self.positions} positions of {len(self._layers)} layers, {self.bytes >> 20} MiB>"


def _room(like: torch.Tensor, positions: int) -> torch.Tensor:
    """Return memory for at least this many positions."""
    blocks = -(-positions // BLOCK_POSITIONS)
    return like.new_empty(*like.shape[:2], blocks * BLOCK_POSITIONS, like.shape[3])
