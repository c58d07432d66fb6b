"""The flow's operations on a GPU: cuBLAS for products, small Triton kernels between them.

Rules
* Products are cuBLAS's. Of kernels of ours that normed and multiplied, or multiplied and added, in one launch, the
  former took 11.5 us where a norm and cuBLAS take 7, the latter 5.8 where cuBLAS takes about 4.5 and the norm that
  follows adds. A step of 544 frames in fp16 took 3.07 ms with the former, 2.52 with the latter, 2.85 with both and 2.46
  with neither (H100, torch 2.11).
* A product of the stream is added by what reads the stream next.
* In 16 bits GELU is the one that cuBLAS applies to its sums: by tanh, at most 5e-4 from upstream's, about half of
  fp16's last place at 1. With random weights it moves Turbo's mel by 9e-6 in the mean, where fp16 itself moves it
  by 5e-5. In fp32 it is upstream's.
* A kernel's file is imported when the operations are made: Triton comes with torch's CUDA build alone.
"""

import torch

from tts_service.speech.captured.flow_operations import Chosen, PlainOperations, Stream, acted, multiplied
from tts_service.speech.captured.flow_weights import Norm, PositionedBlock, Product


class DeviceOperations(PlainOperations):
    """Operations for weights of one type on a GPU."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        from tts_service.speech.captured import (  # noqa: PLC0415  # As the file's rules say.
            flow_attention_kernel,
            flow_norm_kernel,
            flow_places_kernel,
            flow_position_kernel,
            flow_solver_kernel,
        )

        self._norms = flow_norm_kernel
        self._attention = flow_attention_kernel
        self._positions = flow_position_kernel
        self._solver = flow_solver_kernel
        self._places = flow_places_kernel

    def normed_product(self, stream: Stream, norm: Norm, products: tuple[Product, ...], act: str = "") -> torch.Tensor:
        """Add what is pending and norm in one launch, unless that is done; then multiply."""
        values, stream.normed = stream.normed, None
        if values is None:
            change, stream.change = stream.change, None
            values = self._norms.settled_norm(stream.value, change, norm, self.dtype)
        if act == "gelu" and self.dtype != torch.float32:
            return _gelu_product(values, products)
        return acted(multiplied(values, products), act)

    def add_product(self, stream: Stream, values: torch.Tensor, product: Product) -> None:
        """Multiply, and leave the addition to what reads the stream next."""
        assert stream.normed is None
        stream.value, stream.change = self.settled(stream), multiplied(values, (product,))

    def settled(self, stream: Stream) -> torch.Tensor:
        """Return the value, with the change in it."""
        if stream.change is not None:
            stream.value, stream.change = stream.value.add_(stream.change), None
        return stream.value

    def attention(self, qkv: torch.Tensor, heads: int, lengths: torch.Tensor) -> torch.Tensor:
        """Read only the keys that are within each row's length."""
        if self.dtype == torch.float32:
            return super().attention(qkv, heads, lengths)
        return self._attention.attention(qkv, heads, lengths)

    def positioned_attention(
        self, qkv: torch.Tensor, positioned: PositionedBlock, distances: torch.Tensor, lengths: torch.Tensor
    ) -> torch.Tensor:
        """Keep scores out of memory."""
        if self.dtype == torch.float32:
            return super().positioned_attention(qkv, positioned, distances, lengths)
        return self._positions.positioned_attention(qkv, positioned, distances, lengths)

    def spread(self, values: Stream | torch.Tensor) -> torch.Tensor:
        """Add what is pending, and put the two frames before each frame beside it, in one launch."""
        if not isinstance(values, Stream):
            return self._norms.spread(values.contiguous(), None, self.dtype)
        change, values.change = values.change, None
        return self._norms.spread(values.value, change, self.dtype)

    def mish_spread(self, values: torch.Tensor, norm: Norm, added: torch.Tensor) -> torch.Tensor:
        """Norm, Mish, add and spread in one launch."""
        return self._norms.mish_spread(values, norm, added)

    def mish_stream(self, values: torch.Tensor, norm: Norm, base: torch.Tensor, following: Norm) -> Stream:
        """Norm, Mish, add, and norm in one launch."""
        return Stream(*self._norms.mish_stream(values, norm, base, following))

    def mish(self, values: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Norm and Mish in one launch."""
        return self._norms.mish(values, norm)

    def solve(self, direction: torch.Tensor, mel: torch.Tensor, given: torch.Tensor, span: torch.Tensor) -> None:
        """Step in one launch."""
        self._solver.solve(direction, mel, given, span)

    def gathered(self, mel: torch.Tensor, given: torch.Tensor, chosen: Chosen) -> torch.Tensor:
        """Lay out all rows in one launch."""
        return self._places.gathered(mel, given, chosen, self.dtype)

    def advance(self, direction: torch.Tensor, mel: torch.Tensor, span: torch.Tensor, chosen: Chosen) -> None:
        """Step in one launch."""
        self._places.advance(direction, mel, span, chosen)

    def __repr__(self) -> str:
        return f"<DeviceOperations {self.dtype}>"


def _gelu_product(values: torch.Tensor, products: tuple[Product, ...]) -> torch.Tensor:
    """Return a biased linear layer's output through GELU, in cuBLAS's one launch."""
    [product] = products
    assert product.bias is not None
    rows = values.view(-1, values.shape[-1])
    made = torch._addmm_activation(product.bias, rows, product.weight.T, use_gelu=True)  # noqa: SLF001  # torch has no public name for it.
    return made.view(*values.shape[:-1], -1)
