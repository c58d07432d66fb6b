"""What the encoder makes of speech tokens: upstream's embedding, conformer and projection, for a padded length.

Rules
* Padding is masked once, after the first layer: the look-ahead convolution then sees zeros, as at the end of an input
  that is not padded. All else that looks to the right is attention, which is told the length.
* Positions are relative, so padding moves none: how a frame stands to another is the same in every bucket.
"""

import math
from typing import Final

import torch
from torch.nn import functional

from tts_service.speech.captured.flow_operations import FlowOperations, Stream, multiplied, normed, shifted
from tts_service.speech.captured.flow_weights import EncoderWeights, Norm, PositionedBlock, Product

LOOK_AHEAD: Final = 3
"""Tokens, as in `mel_flow`."""

FRAMES_PER_TOKEN: Final = 2


class Encoder:
    """One encoder's work, by operations of one kind."""

    def __init__(self, operations: FlowOperations, weights: EncoderWeights) -> None:
        self._operations = operations
        self._weights = weights
        self._dtype = operations.dtype

    def frames(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return (rows, 2 * tokens, 80) from `tokens` (rows, tokens); `lengths` (rows,), int32, says which are real.

        What is past a length may be anything, and so is what comes of it.
        """
        weights = self._weights
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        embedded = functional.embedding(torch.where(real, tokens, 0), weights.embedding)
        values = self._entered(embedded, weights.enter, weights.enter_norm) * real[..., None]
        stream = Stream(values + self._looked_ahead(values))
        self._blocks(stream, weights.blocks, weights.table, lengths)
        doubled = self._doubled(self._operations.settled(stream))
        stream = Stream(self._entered(doubled, weights.enter_doubled, weights.enter_doubled_norm))
        self._blocks(stream, weights.doubled_blocks, weights.doubled_table, FRAMES_PER_TOKEN * lengths)
        return self._operations.normed_product(stream, weights.norm, (weights.projection,))

    def speaker(self, values: torch.Tensor) -> torch.Tensor:
        """Return (rows, 80) from x-vectors (rows, 192), fp32."""
        return multiplied(functional.normalize(values, dim=1).to(self._dtype), (self._weights.speaker,))

    def _entered(self, values: torch.Tensor, product: Product, norm: Norm) -> torch.Tensor:
        """Return values as blocks take them, in fp32: upstream scales by the square root of the channels."""
        made = multiplied(values.to(self._dtype), (product,))
        return normed(made, norm) * math.sqrt(made.shape[-1])

    def _looked_ahead(self, values: torch.Tensor) -> torch.Tensor:
        ahead = shifted(values.to(self._dtype), before=0, after=LOOK_AHEAD)
        inner = functional.leaky_relu(multiplied(ahead, (self._weights.ahead.product(),)))
        return multiplied(shifted(inner), (self._weights.behind.product(),))

    def _doubled(self, values: torch.Tensor) -> torch.Tensor:
        """Return frames twice as often, through a causal convolution."""
        double = self._weights.double
        twice = values.to(self._dtype).repeat_interleave(FRAMES_PER_TOKEN, dim=1)
        return multiplied(shifted(twice, before=double.taps - 1), (double.product(),))

    def _blocks(
        self, stream: Stream, blocks: tuple[PositionedBlock, ...], table: torch.Tensor, lengths: torch.Tensor
    ) -> None:
        frames = stream.value.shape[1]
        positions = _positions(table, frames).to(self._dtype)
        for each in blocks:
            block = each.block
            qkv = self._operations.normed_product(stream, block.attention_norm, block.qkv)
            distances = multiplied(positions, (each.positions,))
            mixed = self._operations.positioned_attention(qkv, each, distances, lengths)
            self._operations.add_product(stream, mixed, block.output)
            grown = self._operations.normed_product(stream, block.linear_norm, (block.grow,), "silu")
            self._operations.add_product(stream, grown, block.shrink)

    def __repr__(self) -> str:
        return f"<Encoder {len(self._weights.blocks)} and {len(self._weights.doubled_blocks)} blocks>"


def _positions(table: torch.Tensor, frames: int) -> torch.Tensor:
    """Return (2 * frames - 1, channels): from `frames - 1` behind to as many ahead."""
    middle = table.shape[1] // 2
    return table[0, middle - frames + 1 : middle + frames]
