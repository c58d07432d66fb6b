"""T3's arithmetic on a GPU: a few kernels of ours between cuBLAS' products, or products of ours for very few lines.

Nine launches a layer with cuBLAS (one fewer where attention is not shared out), six with our own products.
"""

import math
from typing import Final

import torch
import triton
from torch.nn import functional

from tts_service.speech.captured.t3_arithmetic import Hidden
from tts_service.speech.captured.t3_attention_kernels import attend, join, place_prompt
from tts_service.speech.captured.t3_product_kernels import multiply
from tts_service.speech.captured.t3_row_kernels import activate, add_norm, embed
from tts_service.speech.captured.t3_state import Batch
from tts_service.speech.captured.t3_tuning import Tuning
from tts_service.speech.captured.t3_weights import Layer, Linear, Norm, T3Weights
from tts_service.speech.captured.token_pages import PAGE_POSITIONS

_ACTIVATED_BLOCK: Final = 1024

_LINES_FED: Final = 384
"""Lines fed forward at once: what lies between takes 16 KiB a line of English, and graphs keep that for life."""


class KernelArithmetic:
    """cuBLAS' products with kernels between them: for any number of lines, steps and prompts."""

    _is_chained = False
    """Whether each kernel says when the next may start."""

    def __init__(self, weights: T3Weights, tuning: Tuning) -> None:
        self._weights = weights
        self._tuning = tuning
        self._heads, self._head_channels = weights.heads, weights.head_channels
        # Launched as a programmatic dependent, a kernel begins while the one ahead ends.
        is_early = self._is_chained and bool(tuning.early)
        self._launch = {"early": is_early, **({"launch_pdl": True} if is_early else {})}

    def tokens(self, weights: T3Weights, batch: Batch) -> Hidden:
        """Return the rows' last tokens' embeddings and the rotation of their positions."""
        rows, channels = len(batch.rows), weights.channels
        total = torch.empty(rows, channels, dtype=torch.float32, device=batch.rows.device)
        rotation = torch.empty(rows, 2, self._head_channels // 2, dtype=torch.float32, device=batch.rows.device)
        frequencies = rotation if weights.frequencies is None else weights.frequencies
        embed[(rows,)](
            batch.rows,
            batch.state.numbers,
            weights.speech,
            weights.places,
            frequencies,
            total,
            rotation,
            channels,
            len(weights.places),
            half=self._head_channels // 2,
            block=triton.next_power_of_2(channels),
            by_position=weights.places_by_position,
            rotated=weights.frequencies is not None,
        )
        return Hidden(sum=total, rotation=rotation)

    def prompt(self, weights: T3Weights, embeddings: torch.Tensor) -> Hidden:
        """Return a prompt's lines."""
        lines = embeddings.to(torch.float32, copy=True)
        if weights.places_by_position:
            lines += weights.places[: embeddings.shape[1]]
        return Hidden(sum=lines.flatten(0, 1))

    def project(self, hidden: Hidden, norm: Norm, product: Linear) -> torch.Tensor:
        """Norm, then multiply."""
        return _product(self._normed(hidden, norm), product)

    def attend(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Attend in shares, and join them."""
        rows, shares = len(batch.rows), self._tuning.shares
        seen = self._attended(projected, layer, hidden, batch)
        if hidden.shares is None or not self._tuning.joins_apart:
            return seen
        out = torch.empty(rows, self._weights.channels, dtype=projected.dtype, device=projected.device)
        join[(rows, self._heads)](
            seen,
            *hidden.shares,
            out,
            heads=self._heads,
            head_channels=self._head_channels,
            splits=shares,
            num_warps=1,
            **self._launch,
        )
        hidden.shares = None
        return out

    def attend_prompt(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Write keys and values into pages, then attend to those at hand."""
        del hidden
        rows, lines = len(batch.rows), len(projected)
        frequencies = self._weights.frequencies
        place_prompt[(lines,)](
            projected,
            projected if frequencies is None else frequencies,
            *self._held(batch),
            lines // rows,
            *self._page_places(batch, layer),
            heads=self._heads,
            head_channels=self._head_channels,
            page_positions=PAGE_POSITIONS,
            block=triton.next_power_of_2(self._heads),
            rotated=frequencies is not None,
        )
        parts = projected.view(rows, lines // rows, 3, self._heads, self._head_channels)
        queries, keys, values = (each.transpose(1, 2) for each in parts.unbind(2))
        seen = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return seen.transpose(1, 2).reshape(lines, -1)

    def add(self, hidden: Hidden, attended: torch.Tensor, product: Linear) -> None:
        """Leave it to the next norm."""
        hidden.pending = _product(attended, product)

    def feed(self, hidden: Hidden, layer: Layer) -> torch.Tensor:
        """Norm, multiply, activate."""
        lines = self._normed(hidden, layer.feed_norm)
        channels = layer.inner.outputs // (2 if layer.gated else 1)
        out = torch.empty(len(lines), channels, dtype=lines.dtype, device=lines.device)
        for start in range(0, len(lines), _LINES_FED):
            inner = _product(lines[start : start + _LINES_FED], layer.inner)
            grid = (len(inner), triton.cdiv(channels, _ACTIVATED_BLOCK))
            activate[grid](inner, out[start:], channels, block=_ACTIVATED_BLOCK, gated=layer.gated)
            del inner  # Before the next is made: a graph keeps memory for all that is alive at once.
        return out

    def feed_back(self, hidden: Hidden, inner: torch.Tensor, product: Linear) -> None:
        """Leave it to the next norm."""
        hidden.pending = _product(inner, product)

    def logits(self, hidden: Hidden, norm: Norm, head: Linear, out: torch.Tensor) -> None:
        """Norm, multiply in float32, write."""
        lines, [matrix] = self._normed(hidden, norm), head.weights
        if lines.dtype == torch.float32:
            torch.mm(lines, matrix.t(), out=out)
        else:
            out.copy_(torch.mm(lines, matrix.t(), out_dtype=torch.float32))
        if head.bias is not None:
            out += head.bias

    def _normed(self, hidden: Hidden, norm: Norm) -> torch.Tensor:
        lines, channels = hidden.sum.shape
        out = torch.empty(lines, channels, dtype=self._weights.dtype, device=hidden.sum.device)
        add_norm[(lines,)](
            hidden.sum,
            hidden.sum if hidden.pending is None else hidden.pending,
            norm.weight,
            norm.weight if norm.bias is None else norm.bias,
            out,
            channels,
            norm.epsilon,
            block=triton.next_power_of_2(channels),
            adds=hidden.pending is not None,
            centred=norm.bias is not None,
        )
        hidden.pending = None
        return out

    def _attended(self, projected: torch.Tensor, layer: int, hidden: Hidden, batch: Batch) -> torch.Tensor:
        """Return what the rows see, or its shares with `hidden.shares`."""
        rows, shares, channels = len(batch.rows), self._tuning.shares, self._weights.channels
        kind, device = projected.dtype if shares == 1 else torch.float32, projected.device
        seen = torch.empty(rows, shares, channels, dtype=kind, device=device)
        peaks, totals = torch.empty(2, rows, self._heads, shares, dtype=torch.float32, device=device)
        assert hidden.rotation is not None
        attend[(rows, self._heads, shares)](
            projected,
            hidden.rotation,
            *self._held(batch),
            seen,
            peaks,
            totals,
            *self._page_places(batch, layer),
            self._head_channels**-0.5 / math.log(2),
            heads=self._heads,
            head_channels=self._head_channels,
            page_positions=PAGE_POSITIONS,
            block=self._tuning.positions,
            splits=shares,
            rotated=self._weights.frequencies is not None,
            num_warps=self._tuning.attention_warps,
            **self._launch,
        )
        hidden.shares = None if shares == 1 else (peaks, totals)
        return seen.view(rows, shares * channels)

    def _held(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        return batch.rows, batch.state.numbers, batch.state.tables, batch.pages

    def _page_places(self, batch: Batch, layer: int) -> tuple[int, int, int]:
        """Return a table's width, the distance of two pages, and where a layer begins in one."""
        return batch.state.tables.shape[1], batch.pages.stride(0), layer * batch.pages.stride(1)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._tuning}>"


class FewLinesArithmetic(KernelArithmetic):
    """Products of ours, with norms, activations and sums inside: for steps of very few rows."""

    _is_chained = True

    def project(self, hidden: Hidden, norm: Norm, product: Linear) -> torch.Tensor:
        """Norm and multiply at once."""
        if product.whole is None:
            return super().project(hidden, norm, product)
        out = self._out(len(hidden.sum), product.outputs)
        self._multiply(hidden.sum, product, out, norm=norm)
        return out

    def add(self, hidden: Hidden, attended: torch.Tensor, product: Linear) -> None:
        """Multiply, and add to the sum at once."""
        self._multiply(attended, product, hidden.sum, shares=hidden.shares, adds=True)
        hidden.shares = None

    def feed(self, hidden: Hidden, layer: Layer) -> torch.Tensor:
        """Norm, multiply and activate at once."""
        if layer.inner.whole is None:
            return super().feed(hidden, layer)
        out = self._out(len(hidden.sum), layer.inner.outputs // (2 if layer.gated else 1))
        self._multiply(hidden.sum, layer.inner, out, norm=layer.feed_norm, activation=1 if layer.gated else 2)
        return out

    def feed_back(self, hidden: Hidden, inner: torch.Tensor, product: Linear) -> None:
        """Multiply, and add to the sum at once."""
        self._multiply(inner, product, hidden.sum, adds=True)

    def logits(self, hidden: Hidden, norm: Norm, head: Linear, out: torch.Tensor) -> None:
        """Norm and multiply at once."""
        self._multiply(hidden.sum, head, out, norm=norm)

    def _out(self, lines: int, channels: int) -> torch.Tensor:
        return torch.empty(lines, channels, dtype=self._weights.dtype, device=self._weights.speech.device)

    def _multiply(
        self,
        lines: torch.Tensor,
        product: Linear,
        out: torch.Tensor,
        *,
        norm: Norm | None = None,
        shares: tuple[torch.Tensor, torch.Tensor] | None = None,
        activation: int = 0,
        adds: bool = False,
    ) -> None:
        [matrix] = product.weights
        inputs, outputs, tuning = matrix.shape[1], out.shape[1], self._tuning
        is_few = inputs <= self._weights.channels
        block = tuning.few_outputs if is_few else tuning.many_outputs
        norm_weight = matrix if norm is None else norm.weight
        peaks, totals = (lines, lines) if shares is None else shares
        multiply[(triton.cdiv(outputs, block),)](
            lines,
            peaks,
            totals,
            matrix,
            matrix if product.bias is None else product.bias,
            norm_weight,
            norm_weight if norm is None or norm.bias is None else norm.bias,
            out,
            len(lines),
            inputs,
            outputs,
            *matrix.stride(),
            0.0 if norm is None else norm.epsilon,
            line_block=triton.next_power_of_2(len(lines)),
            input_block=triton.next_power_of_2(inputs),
            block=block,
            norm=0 if norm is None else 1 if norm.bias is None else 2,
            splits=0 if shares is None else shares[0].shape[2],
            head_channels=self._head_channels,
            biased=product.bias is not None,
            activation=activation,
            adds=adds,
            **self._launch,
            num_warps=tuning.few_warps if is_few else tuning.many_warps,
        )


def _product(lines: torch.Tensor, product: Linear) -> torch.Tensor:
    """Return cuBLAS' product; several where the matrices lie apart."""
    if product.whole is None:
        assert product.bias is None
        return torch.cat([torch.mm(lines, each.t()) for each in product.weights], dim=1)
    if product.bias is None:
        return torch.mm(lines, product.whole.t())
    return torch.addmm(product.bias, lines, product.whole.t())
