"""The flow's weights as captured work multiplies by them: views of the leased module's parameters, never copies.

Rules
* A convolution over frames is one product over shifted copies of them, so its weight (out, in, taps) is wanted as
  (out, taps * in). In the memory order of `flow_form` that is a view. In any other it is a copy that is made anew in
  each replay: slow, and right.
* Weights that are multiplied by the same thing are one matrix where they are neighbours (`flow_form` makes them so),
  and several where they are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from tts_service.models.chatterbox.running_form import MemoryOrder, RunningForm, adjacent
from tts_service.types import Precision

TAPS_BEFORE_CHANNELS: Final[MemoryOrder] = (0, 2, 1)
"""A convolution's (out, in, taps) as (out, taps, in)."""

CONVOLUTION_DIMENSIONS: Final = 3

_QKV: Final = ("linear_q", "linear_k", "linear_v")


def flow_memory_order(name: str, shape: tuple[int, ...]) -> MemoryOrder | None:
    """Return how a parameter of `s3gen.flow` should lie in memory; None for the plain order."""
    del name
    return TAPS_BEFORE_CHANNELS if len(shape) == CONVOLUTION_DIMENSIONS and shape[-1] > 1 and shape[0] > 1 else None


def flow_arranged(names: Sequence[str]) -> Sequence[str]:
    """Return the flow's names with the three weights of each of the encoder's attentions side by side, then biases.

    The estimator's need nothing: they have no biases between them.
    """
    return sorted(names, key=lambda name: _place(name, names.index(name), names))


def _place(name: str, index: int, names: Sequence[str]) -> tuple[int, int, int]:
    """Return where a name goes: an attention's six stand where the first of them does, weights before biases."""
    owner, _, leaf = name.rpartition(".")
    attention, _, part = owner.rpartition(".")
    if part not in _QKV:
        return index, 0, 0
    return names.index(f"{attention}.{_QKV[0]}.weight"), int(leaf == "bias"), _QKV.index(part)


def flow_stays_fp32(name: str) -> bool:
    """Tell what keeps its precision: the norms, whose weights are few, and which compute in fp32 in any case."""
    return "norm" in name or ".block.2." in name or ".out.1." in name


def flow_form(precision: Precision) -> RunningForm:
    """Return the form in which the captured flow runs best; it runs in any."""
    return RunningForm(
        precision=precision, stays_fp32=flow_stays_fp32, memory_order=flow_memory_order, arranged=flow_arranged
    )


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer norm: `weight` and `bias` (channels,)."""

    weight: torch.Tensor
    bias: torch.Tensor
    epsilon: float

    @classmethod
    def of(cls, norm: Any) -> "Norm":
        """Return upstream's."""
        return cls(norm.weight, norm.bias, norm.eps)


@dataclass(frozen=True, slots=True)
class Product:
    """A linear layer: `weight` (out, in) and `bias` (out,) or none."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None

    @classmethod
    def of(cls, linear: Any) -> "Product":
        """Return upstream's; a convolution with one tap is one, too."""
        return cls(linear.weight.flatten(1), linear.bias)


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution over frames: `weight` (out, in, taps) and `bias` (out,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, convolution: Any) -> "Convolution":
        """Return upstream's."""
        return cls(convolution.weight, convolution.bias)

    @property
    def taps(self) -> int:
        """How many frames one frame is made from."""
        return self.weight.shape[2]

    def product(self) -> Product:
        """Return it as a product by frames that stand side by side, (out, taps * in), the oldest first."""
        return Product(self.weight.permute(0, 2, 1).flatten(1), self.bias)


@dataclass(frozen=True, slots=True)
class TransformerBlock:
    """Attention and two linear layers, each beside the stream: of the estimator, or of the encoder."""

    attention_norm: Norm
    qkv: tuple[Product, ...]
    output: Product
    linear_norm: Norm
    grow: Product
    shrink: Product


@dataclass(frozen=True, slots=True)
class EstimatorLevel:
    """Two convolutions with norms, one product beside them, and transformer blocks."""

    first: Convolution
    first_norm: Norm
    second: Convolution
    second_norm: Norm
    beside: Product
    blocks: tuple[TransformerBlock, ...]


@dataclass(frozen=True, slots=True)
class EstimatorWeights:
    """Upstream's `ConditionalDecoder`, for which frames stay at one rate throughout."""

    down: EstimatorLevel
    after_down: Convolution
    middle: tuple[EstimatorLevel, ...]
    up: EstimatorLevel
    after_up: Convolution
    last: Convolution
    last_norm: Norm
    projection: Product
    heads: int


@dataclass(frozen=True, slots=True)
class PositionedBlock:
    """A conformer block: beside the rest, what it does with positions. Biases (heads, channels of one)."""

    block: TransformerBlock
    positions: Product
    content_bias: torch.Tensor
    position_bias: torch.Tensor


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """Upstream's `UpsampleConformerEncoder` and the layers around it. Tables are (1, positions, channels)."""

    embedding: torch.Tensor
    speaker: Product
    projection: Product
    enter: Product
    enter_norm: Norm
    ahead: Convolution
    behind: Convolution
    blocks: tuple[PositionedBlock, ...]
    table: torch.Tensor
    double: Convolution
    enter_doubled: Product
    enter_doubled_norm: Norm
    doubled_blocks: tuple[PositionedBlock, ...]
    doubled_table: torch.Tensor
    norm: Norm


def estimator_weights(estimator: Any) -> EstimatorWeights:
    """Return the weights of `s3gen.flow`'s `decoder.estimator`."""
    [down], [up] = estimator.down_blocks, estimator.up_blocks
    return EstimatorWeights(
        down=_level(down),
        after_down=Convolution.of(down[2]),
        middle=tuple(_level(each) for each in estimator.mid_blocks),
        up=_level(up),
        after_up=Convolution.of(up[2]),
        last=Convolution.of(estimator.final_block.block[0]),
        last_norm=Norm.of(estimator.final_block.block[2]),
        projection=Product.of(estimator.final_proj),
        heads=down[1][0].attn1.heads,
    )


def _level(level: Any) -> EstimatorLevel:
    resnet, blocks = level[0], level[1]
    first, second = resnet.block1.block, resnet.block2.block
    return EstimatorLevel(
        first=Convolution.of(first[0]),
        first_norm=Norm.of(first[2]),
        second=Convolution.of(second[0]),
        second_norm=Norm.of(second[2]),
        beside=Product.of(resnet.res_conv),
        blocks=tuple(_estimator_block(each) for each in blocks),
    )


def _estimator_block(block: Any) -> TransformerBlock:
    attention = block.attn1
    return TransformerBlock(
        attention_norm=Norm.of(block.norm1),
        qkv=_neighbours((attention.to_q, attention.to_k, attention.to_v)),
        output=Product.of(attention.to_out[0]),
        linear_norm=Norm.of(block.norm3),
        grow=Product.of(block.ff.net[0].proj),
        shrink=Product.of(block.ff.net[2]),
    )


def encoder_weights(flow: Any) -> EncoderWeights:
    """Return the weights of `s3gen.flow` less its estimator's."""
    encoder = flow.encoder
    return EncoderWeights(
        embedding=flow.input_embedding.weight,
        speaker=Product.of(flow.spk_embed_affine_layer),
        projection=Product.of(flow.encoder_proj),
        enter=Product.of(encoder.embed.out[0]),
        enter_norm=Norm.of(encoder.embed.out[1]),
        ahead=Convolution.of(encoder.pre_lookahead_layer.conv1),
        behind=Convolution.of(encoder.pre_lookahead_layer.conv2),
        blocks=tuple(_positioned(each) for each in encoder.encoders),
        table=encoder.embed.pos_enc.pe,
        double=Convolution.of(encoder.up_layer.conv),
        enter_doubled=Product.of(encoder.up_embed.out[0]),
        enter_doubled_norm=Norm.of(encoder.up_embed.out[1]),
        doubled_blocks=tuple(_positioned(each) for each in encoder.up_encoders),
        doubled_table=encoder.up_embed.pos_enc.pe,
        norm=Norm.of(encoder.after_norm),
    )


def _positioned(layer: Any) -> PositionedBlock:
    attention = layer.self_attn
    return PositionedBlock(
        block=TransformerBlock(
            attention_norm=Norm.of(layer.norm_mha),
            qkv=_neighbours((attention.linear_q, attention.linear_k, attention.linear_v)),
            output=Product.of(attention.linear_out),
            linear_norm=Norm.of(layer.norm_ff),
            grow=Product.of(layer.feed_forward.w_1),
            shrink=Product.of(layer.feed_forward.w_2),
        ),
        positions=Product.of(attention.linear_pos),
        content_bias=attention.pos_bias_u,
        position_bias=attention.pos_bias_v,
    )


def _neighbours(layers: Sequence[Any]) -> tuple[Product, ...]:
    """Return linear layers as one, if their weights lie side by side and their biases do."""
    weight = adjacent([each.weight for each in layers])
    biases = [each.bias for each in layers if each.bias is not None]
    bias = adjacent(biases) if biases else None
    if weight is None or (biases and bias is None):
        return tuple(Product.of(each) for each in layers)
    return (Product(weight, bias),)
