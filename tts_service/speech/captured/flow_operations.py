"""What the flow's networks are made of, and how torch alone computes it: on CPUs, and wherever nothing is faster.

Rules
* Activations are (rows, frames, channels), contiguous. A row is one stream's, or its half without guidance.
* The stream that blocks add to is fp32. Products and attention are in the weights' type, with fp32 sums. Norms and
  activation functions compute in fp32.
* Frames past a row's length hold anything finite. Nothing but attention looks to the right, so only attention is told
  the length.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

from tts_service.speech.captured.flow_weights import Convolution, Norm, PositionedBlock, Product


class Stream:
    """What blocks add to: `value` (rows, frames, channels) in fp32, and a change that has yet to be added.

    `normed` is the value after the norm that reads it first, where that was made along with the value.
    """

    def __init__(self, value: torch.Tensor, normed: torch.Tensor | None = None) -> None:
        assert value.dtype == torch.float32
        self.value = value
        self.change: torch.Tensor | None = None
        self.normed = normed

    def __repr__(self) -> str:
        return f"<Stream {tuple(self.value.shape)}{'' if self.change is None else ' and a change'}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The places whose decodes take a step together: `places` and their `lengths` (streams,), int32.

    All are padded to `frames`. A place that stands in for nobody may be there more than once.
    """

    places: torch.Tensor
    lengths: torch.Tensor
    frames: int
    guided: bool

    def row_lengths(self) -> torch.Tensor:
        """Return the lengths (rows,) of the estimator's rows."""
        return self.lengths.repeat(2) if self.guided else self.lengths


class FlowOperations(Protocol):
    """The operations, on one device, for weights of one type."""

    dtype: torch.dtype

    def normed_product(self, stream: Stream, norm: Norm, products: tuple[Product, ...], act: str = "") -> torch.Tensor:
        """Return products of the normed stream, side by side, through "gelu", "silu" or nothing."""
        ...

    def add_product(self, stream: Stream, values: torch.Tensor, product: Product) -> None:
        """Add a product of values to the stream."""
        ...

    def settled(self, stream: Stream) -> torch.Tensor:
        """Return the stream's value with everything added."""
        ...

    def attention(self, qkv: torch.Tensor, heads: int, lengths: torch.Tensor) -> torch.Tensor:
        """Return (rows, frames, heads * width) from (rows, frames, 3 * heads * width); `lengths` (rows,), int32."""
        ...

    def positioned_attention(
        self, qkv: torch.Tensor, positioned: PositionedBlock, distances: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Return `attention` whose scores have a part for content and one for the distance.

        `distances` (2 * frames - 1, heads * width) are keys, from `frames - 1` behind to as many ahead.
        """
        ...

    def spread(self, values: Stream | torch.Tensor) -> torch.Tensor:
        """Return frames, a stream's settled, in the form in which a causal convolution takes them."""
        ...

    def convolution(self, spread: torch.Tensor, convolution: Convolution) -> torch.Tensor:
        """Return a causal convolution with three taps of frames that were spread."""
        ...

    def beside(self, spread: torch.Tensor, product: Product) -> torch.Tensor:
        """Return a product of frames that were spread."""
        ...

    def mish_spread(self, values: torch.Tensor, norm: Norm, added: torch.Tensor) -> torch.Tensor:
        """Return Mish of the normed values, and `added` (streams, channels), spread; rows are streams in turn."""
        ...

    def mish_stream(self, values: torch.Tensor, norm: Norm, base: torch.Tensor, following: Norm) -> Stream:
        """Return a new stream: Mish of the normed values, and `base`. `following` is the norm that reads it first."""
        ...

    def mish(self, values: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Return Mish of the normed values."""
        ...

    def solve(self, direction: torch.Tensor, mel: torch.Tensor, given: torch.Tensor, span: torch.Tensor) -> None:
        """Take the solver's step: add to `mel` (streams, frames, 80), in fp32, and show it to the next step.

        `direction` (rows, frames, 80) holds rows with guidance first, and then, if there are twice as many rows as
        streams, those without. `given` (rows, frames, 4 * 80) has the mel in its first 80 channels. `span` (streams,
        3) is each stream's step in time, the weight of the rows with guidance, and that of those without.
        """
        ...

    def gathered(self, mel: torch.Tensor, given: torch.Tensor, chosen: Chosen) -> torch.Tensor:
        """Return the estimator's input (rows, frames, 320) for the places that are chosen; zeros past their lengths.

        `mel` (places, most frames, 80) is in fp32, `given` (places, most frames, 240) in the weights' type. Rows with
        guidance come first, then, if it is guided, as many that are shown the mel alone.
        """
        ...

    def advance(self, direction: torch.Tensor, mel: torch.Tensor, span: torch.Tensor, chosen: Chosen) -> None:
        """Take the solver's step, as `solve` does, in the chosen places' mel (places, most frames, 80)."""
        ...


class PlainOperations:
    """Torch's own, with neither fusing nor kernels of ours."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def normed_product(self, stream: Stream, norm: Norm, products: tuple[Product, ...], act: str = "") -> torch.Tensor:
        """Norm, then multiply."""
        return acted(multiplied(normed(self.settled(stream), norm).to(self.dtype), products), act)

    def add_product(self, stream: Stream, values: torch.Tensor, product: Product) -> None:
        """Multiply, then add."""
        stream.value = self.settled(stream) + multiplied(values, (product,))

    def settled(self, stream: Stream) -> torch.Tensor:
        """Return the value: nothing is put off here."""
        return stream.value

    def attention(self, qkv: torch.Tensor, heads: int, lengths: torch.Tensor) -> torch.Tensor:
        """Leave out keys past each row's length by a mask."""
        rows, frames, channels = qkv.shape
        query, key, value = qkv.view(rows, frames, 3, heads, channels // (3 * heads)).permute(2, 0, 3, 1, 4)
        seen = torch.arange(frames, device=qkv.device) < lengths[:, None]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        return mixed.transpose(1, 2).flatten(2)

    def positioned_attention(
        self, qkv: torch.Tensor, positioned: PositionedBlock, distances: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Attend by one head at a time: the scores of all heads would be the largest memory of the flow by far."""
        rows, frames, _ = qkv.shape
        heads, width = positioned.content_bias.shape
        seen = torch.arange(frames, device=qkv.device) < lengths[:, None]
        by_head = zip(
            qkv.view(rows, frames, 3, heads, width).unbind(3),
            distances.view(-1, heads, width).unbind(1),
            positioned.content_bias.to(qkv.dtype),
            positioned.position_bias.to(qkv.dtype),
            strict=True,
        )
        return torch.cat([_positioned_head(*each, seen[:, None]) for each in by_head], dim=-1)

    def spread(self, values: Stream | torch.Tensor) -> torch.Tensor:
        """Put the two frames before each frame beside it."""
        return shifted((self.settled(values) if isinstance(values, Stream) else values).to(self.dtype))

    def convolution(self, spread: torch.Tensor, convolution: Convolution) -> torch.Tensor:
        """Multiply once."""
        return multiplied(spread, (convolution.product(),))

    def beside(self, spread: torch.Tensor, product: Product) -> torch.Tensor:
        """Multiply the last of the three frames; as a matrix, of which cuBLAS takes a part as it is."""
        rows, frames, channels = spread.shape
        own = spread.view(rows * frames, channels)[:, -product.weight.shape[1] :]
        return multiplied(own, (product,)).view(rows, frames, -1)

    def mish_spread(self, values: torch.Tensor, norm: Norm, added: torch.Tensor) -> torch.Tensor:
        """Norm, Mish, add, spread."""
        every = added.repeat(len(values) // len(added), 1)
        return self.spread(functional.mish(normed(values, norm)) + every[:, None])

    def mish_stream(self, values: torch.Tensor, norm: Norm, base: torch.Tensor, following: Norm) -> Stream:
        """Norm, Mish, add."""
        del following
        return Stream(functional.mish(normed(values, norm)) + base)

    def mish(self, values: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Norm, Mish."""
        return functional.mish(normed(values, norm)).to(self.dtype)

    def solve(self, direction: torch.Tensor, mel: torch.Tensor, given: torch.Tensor, span: torch.Tensor) -> None:
        """Weigh the two directions, go, and write."""
        streams, rows = len(mel), len(direction)
        length, with_weight, without_weight = span[:, :, None, None].unbind(1)
        way = with_weight * direction[:streams].float()
        if rows > streams:
            way = way + without_weight * direction[streams:].float()
        mel.add_(length * way)
        given[..., : mel.shape[2]] = mel.repeat(rows // streams, 1, 1)

    def gathered(self, mel: torch.Tensor, given: torch.Tensor, chosen: Chosen) -> torch.Tensor:
        """Select, cut, and put side by side."""
        real = (torch.arange(chosen.frames, device=mel.device) < chosen.lengths[:, None])[..., None]
        shown, beside = (
            torch.where(real, each[:, : chosen.frames].index_select(0, chosen.places), 0.0).to(self.dtype)
            for each in (mel, given)
        )
        rows = torch.cat([shown, beside], dim=-1)
        return torch.cat([rows, functional.pad(shown, (0, given.shape[2]))]) if chosen.guided else rows

    def advance(self, direction: torch.Tensor, mel: torch.Tensor, span: torch.Tensor, chosen: Chosen) -> None:
        """Take the mel out, step, and put it back."""
        taken = mel[:, : chosen.frames].index_select(0, chosen.places)
        self.solve(direction, taken, direction.new_empty(*direction.shape), span)
        mel[:, : chosen.frames].index_copy_(0, chosen.places.long(), taken)

    def __repr__(self) -> str:
        return f"<PlainOperations {self.dtype}>"


def _positioned_head(  # What `zip` above brings, in its order.
    qkv: torch.Tensor,
    distances: torch.Tensor,
    content_bias: torch.Tensor,
    position_bias: torch.Tensor,
    seen: torch.Tensor,
) -> torch.Tensor:
    """Return one head's attention (rows, frames, width) from its (rows, frames, 3, width).

    The products with all distances hold those that each frame needs in a row that begins one earlier from frame to
    frame, so a view with a shorter stride is what upstream's `rel_shift` makes.
    """
    query, key, value = qkv.unbind(2)
    rows, frames, width = query.shape
    by_distance = (query + position_bias) @ distances.T
    strides = (by_distance.stride(0), by_distance.stride(1) - 1, 1)
    near = by_distance.as_strided((rows, frames, frames), strides, frames - 1)
    bias = torch.where(seen, near / math.sqrt(width), -torch.inf)
    return functional.scaled_dot_product_attention(query + content_bias, key, value, attn_mask=bias)


def normed(values: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Return a layer norm in fp32."""
    channels = values.shape[-1:]
    return functional.layer_norm(values.float(), channels, norm.weight.float(), norm.bias.float(), norm.epsilon)


def multiplied(values: torch.Tensor, products: tuple[Product, ...]) -> torch.Tensor:
    """Return linear layers' outputs side by side."""
    made = [functional.linear(values, each.weight, each.bias) for each in products]
    return made[0] if len(made) == 1 else torch.cat(made, dim=-1)


def acted(values: torch.Tensor, act: str) -> torch.Tensor:
    """Return values through an activation function by its name."""
    match act:
        case "gelu":
            return functional.gelu(values)
        case "silu":
            return functional.silu(values)
        case _:
            assert not act
            return values


def shifted(values: torch.Tensor, before: int = 2, after: int = 0) -> torch.Tensor:
    """Return (rows, frames, (before + 1 + after) * channels): each frame's neighbours beside it, the oldest first."""
    frames = values.shape[1]
    padded = functional.pad(values, (0, 0, before, after))
    return torch.cat([padded[:, shift : shift + frames] for shift in range(before + 1 + after)], dim=-1)
