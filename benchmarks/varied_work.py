"""Work of all kinds that speech asks of a GPU, to see what it takes and whether it stays the same."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch.nn import functional

from tts_service.residency.graph_memory import ArenaGraphs

Kind = Callable[[torch.Tensor], torch.Tensor]


def _product(dtype: torch.dtype) -> Kind:
    def kind(values: torch.Tensor) -> torch.Tensor:
        cast = values.to(dtype)
        return (cast @ cast.mT @ cast).float()

    return kind


def _long_product(values: torch.Tensor) -> torch.Tensor:
    """Few rows, many summands: cuBLAS splits the sum and works in its workspace."""
    flat = values.reshape(16, -1).half()
    return (flat @ flat.mT).float()


def _row_product(values: torch.Tensor) -> torch.Tensor:
    return (values[:1].bfloat16() @ values.bfloat16().mT).float()


def _convolved(values: torch.Tensor) -> torch.Tensor:
    weight = values[:64, :3].reshape(64, 1, 3).expand(64, 64, 3).contiguous()
    return functional.conv1d(values[:64].unsqueeze(0), weight, padding=1)


def _transposed(values: torch.Tensor) -> torch.Tensor:
    weight = values[:32, :16].reshape(32, 1, 16).expand(32, 16, 16).contiguous()
    return functional.conv_transpose1d(values[:32].unsqueeze(0), weight, stride=8, padding=4)


def _attended(values: torch.Tensor) -> torch.Tensor:
    heads = values.half().reshape(1, 4, -1, 64)
    return functional.scaled_dot_product_attention(heads, heads, heads).float()


def _normed(values: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(values, values.shape[-1:]).softmax(dim=-1).cumsum(dim=-1)


def _sorted(values: torch.Tensor) -> torch.Tensor:
    ordered, highest = torch.sort(values, dim=-1)[0], torch.topk(values, 8, dim=-1)[0]
    return ordered + highest.sum()


def _transformed(values: torch.Tensor) -> torch.Tensor:
    spectrum: torch.Tensor = torch.fft.rfft(values, dim=-1)
    back: torch.Tensor = torch.fft.irfft(spectrum * spectrum, dim=-1)
    return back


GRAPH_WORK: Final[Mapping[str, Kind]] = {
    "product fp32": _product(torch.float32),
    "product fp16": _product(torch.float16),
    "product bf16": _product(torch.bfloat16),
    "long product": _long_product,
    "row product": _row_product,
    "convolution": _convolved,
    "transposed": _transposed,
    "attention": _attended,
    "norm, softmax, sum": _normed,
    "sort, top": _sorted,
    "transform": _transformed,
}
"""By name; each takes (256, 256 n) and may allocate."""


class Mixed:
    """One kind of work with its own input and output in buffers. `scale` is how wide the input is, in 256s."""

    def __init__(self, kind: str, graphs: ArenaGraphs, *, scale: int) -> None:
        self.kind = kind
        self._graphs = graphs
        self._work = GRAPH_WORK[kind]
        generator = torch.Generator(device="cpu").manual_seed(scale)
        self._values = torch.randn(256, 256 * scale, generator=generator)
        self._given = graphs.buffer(256, 256 * scale, dtype=torch.float32)
        self._made: torch.Tensor | None = None
        self._replay: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Mixed {self.kind} of {tuple(self._given.shape)}>"

    def capture(self) -> None:
        """Capture the work; its output is a buffer."""
        shape = tuple(self._work(self._values.to(self._given.device)).shape)
        made = self._made = self._graphs.buffer(*shape, dtype=torch.float32)
        self._given.copy_(self._values)

        def work() -> None:
            made.copy_(self._work(self._given))

        self._replay = self._graphs.capture(self.kind, work)

    def replayed(self) -> torch.Tensor:
        """Write the input, repeat the work, and return a copy of the output in host memory."""
        assert self._made is not None
        self._given.copy_(self._values)
        self._replay()
        return self._made.cpu()


def run_varied_kernels(device: torch.device) -> None:
    """Run each kind of work once in this thread, and some kernels that no graph can hold."""
    generator = torch.Generator(device="cpu").manual_seed(1)
    values = torch.randn(256, 512, generator=generator).to(device)
    with torch.inference_mode():
        for work in GRAPH_WORK.values():
            work(values)
        torch.multinomial(values.softmax(dim=-1), 1)
        values.nonzero()
        functional.interpolate(values[None], scale_factor=2.0, mode="linear")
        torch.linalg.norm(values)
        torch.nn.LSTM(512, 64).to(device)(values)
    if device.type == "cuda":
        torch.cuda.synchronize()
