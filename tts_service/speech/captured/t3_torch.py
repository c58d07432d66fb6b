"""T3's arithmetic in torch's own functions, in whatever order is plainest: for CPUs, and what kernels are held against.

Lengths are read on the host, so this is never captured.
"""

import torch
from torch.nn import functional

from tts_service.speech.captured.t3_arithmetic import Hidden
from tts_service.speech.captured.t3_state import ROWS, Batch, Number
from tts_service.speech.captured.t3_weights import Layer, Linear, Norm, T3Weights
from tts_service.speech.captured.token_pages import PAGE_POSITIONS


class TorchArithmetic:
    """The plain way."""

    def __init__(self, weights: T3Weights) -> None:
        self._heads, self._head_channels = weights.heads, weights.head_channels

    def tokens(self, weights: T3Weights, batch: Batch) -> Hidden:
        """Return the rows' last tokens' embeddings."""
        numbers = batch.state.numbers[batch.rows.long() // ROWS]
        positions = numbers[:, Number.POSITION]
        places = positions if weights.places_by_position else numbers[:, Number.STEP]
        lines = weights.speech[numbers[:, Number.LAST]].float() + weights.places[places].float()
        return Hidden(sum=lines, rotation=rotation(weights, positions))

    def prompt(self, weights: T3Weights, embeddings: torch.Tensor) -> Hidden:
        """Return a prompt's lines."""
        rows, count, channels = embeddings.shape
        positions = torch.arange(count, device=embeddings.device).repeat(rows)
        lines = embeddings.reshape(rows * count, channels).float()
        if weights.places_by_position:
            lines = lines + weights.places[positions].float()
        return Hidden(sum=lines, rotation=rotation(weights, positions))

    def project(self, hidden: Hidden, norm: Norm, product: Linear) -> torch.Tensor:
        """Norm, then multiply."""
        return multiplied(normed(hidden, norm, product.weights[0].dtype), product)

    def attend(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Attend row by row."""
        queries, keys, values = self._rotated(projected, hidden)
        seen = []
        for line, row in enumerate(batch.rows.tolist()):
            position = int(batch.state.numbers[row // ROWS, Number.POSITION])
            here = slice(line, line + 1)
            all_keys, all_values = self._extended(batch, row, layer, (keys[here], values[here]), position)
            query = queries[here].transpose(0, 1)
            seen.append(functional.scaled_dot_product_attention(query, all_keys, all_values))
        return torch.cat([each.transpose(0, 1).flatten(1) for each in seen])

    def attend_prompt(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Attend prompt by prompt."""
        queries, keys, values = self._rotated(projected, hidden)
        count = len(projected) // len(batch.rows)
        seen = []
        for line, row in enumerate(batch.rows.tolist()):
            here = slice(line * count, line * count + count)
            length = int(batch.state.numbers[row // ROWS, Number.POSITION]) + 1
            self._extended(batch, row, layer, (keys[here][:length], values[here][:length]), 0)
            query, key, value = (each[here].transpose(0, 1) for each in (queries, keys, values))
            seen.append(functional.scaled_dot_product_attention(query, key, value, is_causal=True))
        return torch.cat([each.transpose(0, 1).flatten(1) for each in seen])

    def add(self, hidden: Hidden, attended: torch.Tensor, product: Linear) -> None:
        """Add at once."""
        hidden.sum = hidden.sum + multiplied(attended, product)

    def feed(self, hidden: Hidden, layer: Layer) -> torch.Tensor:
        """Multiply and activate."""
        inner = self.project(hidden, layer.feed_norm, layer.inner)
        return activated(inner, gated=layer.gated)

    def feed_back(self, hidden: Hidden, inner: torch.Tensor, product: Linear) -> None:
        """Add at once."""
        self.add(hidden, inner, product)

    def logits(self, hidden: Hidden, norm: Norm, head: Linear, out: torch.Tensor) -> None:
        """Norm, multiply and write."""
        out.copy_(self.project(hidden, norm, head))

    def _rotated(self, projected: torch.Tensor, hidden: Hidden) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values (lines, heads, head channels), rotated by their positions."""
        parts = projected.view(len(projected), 3, self._heads, self._head_channels)
        queries, keys, values = parts.unbind(1)
        if hidden.rotation is None:
            return queries, keys, values
        return turned(queries, hidden.rotation), turned(keys, hidden.rotation), values

    def _extended(
        self, batch: Batch, row: int, layer: int, new: tuple[torch.Tensor, torch.Tensor], position: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write keys and values (positions, heads, head channels) from a position on; return all (heads, ...)."""
        end = position + len(new[0])
        pages = batch.state.tables[row, : -(-end // PAGE_POSITIONS)]
        places = torch.arange(position, end)
        numbers = pages[places // PAGE_POSITIONS].long()
        held = (numbers >= 0).nonzero()[:, 0]
        both = []
        for part, lines in enumerate(new):
            memory = batch.pages[:, layer, part]
            memory[numbers[held], :, places[held] % PAGE_POSITIONS] = lines[held].to(memory.dtype)
            whole = memory[pages.clamp(min=0).long()].transpose(0, 1).flatten(1, 2)[:, :end].clone()
            whole[:, position:end] = lines.transpose(0, 1)
            both.append(whole)
        return both[0], both[1]

    def __repr__(self) -> str:
        return f"<TorchArithmetic {self._heads} heads of {self._head_channels}>"


def rotation(weights: T3Weights, positions: torch.Tensor) -> torch.Tensor | None:
    """Return cosines and sines (lines, 2, half a head) of positions."""
    if weights.frequencies is None:
        return None
    angles = positions[:, None].float() * weights.frequencies.float()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def turned(heads: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Turn each pair of channels, half a head apart, of (lines, heads, head channels)."""
    cosine, sine = rotation[:, None, 0], rotation[:, None, 1]
    first, second = heads.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(heads.dtype)


def normed(hidden: Hidden, norm: Norm, dtype: torch.dtype) -> torch.Tensor:
    """Return the normed lines in a dtype."""
    lines = hidden.whole()
    hidden.sum, hidden.pending = lines, None
    if norm.bias is not None:
        shifted = functional.layer_norm(lines, lines.shape[1:], norm.weight.float(), norm.bias.float(), norm.epsilon)
        return shifted.to(dtype)
    scale = torch.rsqrt(lines.pow(2).mean(dim=-1, keepdim=True) + norm.epsilon)
    return (lines * scale * norm.weight.float()).to(dtype)


def multiplied(lines: torch.Tensor, product: Linear) -> torch.Tensor:
    """Return a product (lines, out), by as many matrices as there are."""
    made = torch.cat([lines @ each.t() for each in product.weights], dim=-1)
    return made if product.bias is None else made + product.bias


def activated(inner: torch.Tensor, *, gated: bool) -> torch.Tensor:
    """Return gates' SiLU times values, or gelu in upstream's approximation."""
    if not gated:
        return functional.gelu(inner, approximate="tanh")
    gates, values = inner.chunk(2, dim=-1)
    return functional.silu(gates) * values
