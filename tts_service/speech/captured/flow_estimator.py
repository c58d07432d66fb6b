"""The direction of one step of the solver: upstream's `ConditionalDecoder`, with frames before channels.

Equal to upstream's to rounding. What is different: nothing is transposed, a convolution is one product over shifted
frames, queries, keys and values come of one product, and what only depends on the time is there beforehand.
"""

from typing import Any

import torch
from torch.nn import functional

from tts_service.speech.captured.flow_operations import FlowOperations, Stream, multiplied
from tts_service.speech.captured.flow_weights import EstimatorLevel, EstimatorWeights, TransformerBlock


class Estimator:
    """One estimator's work, by operations of one kind."""

    def __init__(self, operations: FlowOperations, weights: EstimatorWeights) -> None:
        self._operations = operations
        self._weights = weights

    def direction(self, given: torch.Tensor, times: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return (rows, frames, 80) from `given` (rows, frames, 320): mel, encoder's output, speaker, prompt's mel.

        `times` (streams, levels, channels) is what `time_table` says of each stream's step.
        """
        operations, weights = self._operations, self._weights
        down = self._level(given, weights.down, times[:, 0], lengths)
        values: Stream | torch.Tensor = operations.convolution(operations.spread(down), weights.after_down)
        for number, level in enumerate(weights.middle, start=1):
            values = self._level(values, level, times[:, number], lengths)
        assert isinstance(values, Stream), "an estimator has levels in the middle"
        both = [torch.cat([operations.settled(each) for each in (values, down)], dim=-1)]
        del values, down  # A graph keeps memory for all that is alive at once, whether it is read again or not.
        up = self._level(both.pop(), weights.up, times[:, -1], lengths)
        made = operations.convolution(operations.spread(up), weights.after_up)
        last = operations.convolution(operations.spread(made), weights.last)
        return multiplied(operations.mish(last, weights.last_norm), (weights.projection,))

    def _level(
        self, values: Stream | torch.Tensor, level: EstimatorLevel, times: torch.Tensor, lengths: torch.Tensor
    ) -> Stream:
        stream = self._resnet(values, level, times)
        del values
        for block in level.blocks:
            self._operations.add_product(stream, self._attended(stream, block, lengths), block.output)
            self._operations.add_product(stream, self._grown(stream, block), block.shrink)
        return stream

    def _attended(self, stream: Stream, block: TransformerBlock, lengths: torch.Tensor) -> torch.Tensor:
        qkv = self._operations.normed_product(stream, block.attention_norm, block.qkv)
        return self._operations.attention(qkv, self._weights.heads, lengths)

    def _grown(self, stream: Stream, block: TransformerBlock) -> torch.Tensor:
        return self._operations.normed_product(stream, block.linear_norm, (block.grow,), "gelu")

    def _resnet(self, values: Stream | torch.Tensor, level: EstimatorLevel, times: torch.Tensor) -> Stream:
        spread = self._operations.spread(values)
        inner = self._operations.convolution(spread, level.first)
        inner = self._operations.mish_spread(inner, level.first_norm, times)
        inner = self._operations.convolution(inner, level.second)
        beside = self._operations.beside(spread, level.beside)
        return self._operations.mish_stream(inner, level.second_norm, beside, level.blocks[0].attention_norm)

    def __repr__(self) -> str:
        return f"<Estimator {len(self._weights.middle) + 2} levels, {self._operations!r}>"


def time_table(estimator: Any, times: torch.Tensor) -> torch.Tensor:
    """Return (steps, levels, channels), fp32: what each level adds to its frames in each step.

    `times` (steps + 1,) are the times at which steps begin and end. It depends on nothing else, so it is computed once.
    """
    begin = _time_embedding(estimator, times[:-1])
    if estimator.meanflow:
        end = _time_embedding(estimator, times[1:])
        begin = functional.linear(torch.cat([begin, end], dim=1), estimator.time_embed_mixer.weight.float())
    levels = [estimator.down_blocks[0], *estimator.mid_blocks, estimator.up_blocks[0]]
    return torch.stack([_linear(functional.mish(begin), level[0].mlp[1]) for level in levels], dim=1)


def _time_embedding(estimator: Any, times: torch.Tensor) -> torch.Tensor:
    mlp = estimator.time_mlp
    return _linear(functional.silu(_linear(estimator.time_embeddings(times.float()), mlp.linear_1)), mlp.linear_2)


def _linear(values: torch.Tensor, linear: Any) -> torch.Tensor:
    return functional.linear(values, linear.weight.float(), linear.bias.float())
