"""Compares the flow's Triton kernels with torch's functions; run as a process of its own.

With TRITON_INTERPRET=1 on a CPU, or with FLOW_KERNELS_DEVICE=cuda on a GPU.
"""

import json
import os
import sys
from collections.abc import Callable

import torch

from tts_service.speech.captured.flow_device_operations import DeviceOperations
from tts_service.speech.captured.flow_operations import Chosen, FlowOperations, PlainOperations, Stream
from tts_service.speech.captured.flow_weights import Norm, PositionedBlock, Product, TransformerBlock

DEVICE = torch.device(os.environ.get("FLOW_KERNELS_DEVICE", "cpu"))
ROWS, FRAMES, CHANNELS, HEADS, WIDTH = 2, 37, 64, 2, 16
LENGTHS = torch.tensor([37, 21], dtype=torch.int32, device=DEVICE)


def made(*shape: int, seed: int = 1) -> torch.Tensor:
    """Return random numbers, always the same for a shape and a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))).to(DEVICE)


NORM = Norm(made(CHANNELS), made(CHANNELS, seed=2), 1e-5)


def product(inner: int, outer: int, dtype: torch.dtype) -> Product:
    """Return a linear layer."""
    return Product((made(outer, inner) / inner**0.5).to(dtype), made(outer).to(dtype))


def normed_product(operations: FlowOperations) -> torch.Tensor:
    """Norm, multiply, act."""
    layer = product(CHANNELS, 80, operations.dtype)
    plain = Product(layer.weight)
    stream = Stream(made(ROWS, FRAMES, CHANNELS))
    outs = [operations.normed_product(stream, NORM, (each,), act) for each, act in ((layer, "gelu"), (plain, ""))]
    return torch.cat([*outs, operations.normed_product(stream, NORM, (layer, layer), "silu")], dim=-1)


def add_product(operations: FlowOperations) -> torch.Tensor:
    """Multiply and add, twice, then norm."""
    stream = Stream(made(ROWS, FRAMES, CHANNELS))
    values = made(ROWS, FRAMES, 128).to(operations.dtype)
    operations.add_product(stream, values, product(128, CHANNELS, operations.dtype))
    operations.add_product(stream, values.flip(1), Product(product(128, CHANNELS, operations.dtype).weight))
    layer = product(CHANNELS, 80, operations.dtype)
    return torch.cat([operations.normed_product(stream, NORM, (layer,)), operations.settled(stream)], dim=-1)


def attention(operations: FlowOperations) -> torch.Tensor:
    """Attend in rows of different lengths; what is past a length does not count."""
    qkv = made(ROWS, FRAMES, 3 * HEADS * WIDTH).to(operations.dtype)
    mixed = operations.attention(qkv, HEADS, LENGTHS)
    return mixed * (torch.arange(FRAMES, device=DEVICE) < LENGTHS[:, None])[..., None]


def positioned_attention(operations: FlowOperations) -> torch.Tensor:
    """Attend by content and distance, in rows of different lengths and over more than one block of frames."""
    frames, lengths = 150, torch.tensor([150, 71], dtype=torch.int32, device=DEVICE)
    layer = product(CHANNELS, CHANNELS, operations.dtype)
    block = TransformerBlock(NORM, (layer,), layer, NORM, layer, layer)
    biases = [made(HEADS, WIDTH, seed=each).to(operations.dtype) for each in (4, 5)]
    qkv, distances = made(ROWS, frames, 3 * HEADS * WIDTH), made(2 * frames - 1, HEADS * WIDTH)
    mixed = operations.positioned_attention(
        qkv.to(operations.dtype),
        PositionedBlock(block, layer, *biases),
        distances.to(operations.dtype),
        lengths,
    )
    return mixed * (torch.arange(frames, device=DEVICE) < lengths[:, None])[..., None]


def resnet(operations: FlowOperations) -> torch.Tensor:
    """Spread, norm, Mish, add; spread a stream that has yet to be added to, which settles it."""
    spread = operations.spread(made(ROWS, FRAMES, CHANNELS))
    layer = product(CHANNELS, CHANNELS, operations.dtype)
    times = made(ROWS, 3, CHANNELS)[:, 1]
    inner = operations.mish_spread((4 * made(ROWS, FRAMES, CHANNELS)).to(operations.dtype), NORM, times)
    base = made(ROWS, FRAMES, CHANNELS, seed=3).to(operations.dtype)
    stream = operations.mish_stream(inner[..., :CHANNELS].contiguous(), NORM, base, NORM)
    first = operations.normed_product(stream, NORM, (layer,))
    operations.add_product(stream, base, layer)
    parts = [spread, inner, first, operations.spread(stream), stream.value, operations.mish(base, NORM)]
    return torch.cat(parts, dim=-1)


def shared_times(operations: FlowOperations) -> torch.Tensor:
    """Rows with guidance and without get what their stream gets."""
    return operations.mish_spread(made(4, FRAMES, CHANNELS).to(operations.dtype), NORM, made(2, CHANNELS))


def solve(operations: FlowOperations) -> torch.Tensor:
    """Step with guidance and without."""
    results = []
    for rows in (2, 4):
        mel, given = made(2, FRAMES, 80), made(rows, FRAMES, 320).to(operations.dtype)
        direction = made(rows, FRAMES, 80).to(operations.dtype)
        table = torch.tensor([[9.0, 0.1, 1.7, -0.7, 9.0], [9.0, 0.3, 1.0, -0.2, 9.0]], device=DEVICE)
        operations.solve(direction, mel, given, table[:, 1:4])
        results += [mel.flatten(), given.flatten()]
    return torch.cat(results)


def places(operations: FlowOperations) -> torch.Tensor:
    """Gather two of four places, one of them shorter, and step them where they stand, with guidance and without."""
    results = []
    for guided in (True, False):
        mel, given = made(4, FRAMES + 3, 80), made(4, FRAMES + 3, 240).to(operations.dtype)
        numbers = torch.tensor([[3, 1], [FRAMES, 21]], dtype=torch.int32, device=DEVICE)
        chosen = Chosen(places=numbers[0], lengths=numbers[1], frames=FRAMES, guided=guided)
        rows = operations.gathered(mel, given, chosen)
        span = torch.tensor([[9.0, 0.1, 1.7, -0.7], [9.0, 0.3, 1.0, -0.2]], device=DEVICE)[:, 1:]
        operations.advance(made(len(rows), FRAMES, 80).to(operations.dtype), mel, span, chosen)
        results += [rows.flatten(), mel.flatten()]
    return torch.cat(results)


CHECKS: tuple[Callable[[FlowOperations], torch.Tensor], ...] = (
    normed_product,
    add_product,
    attention,
    positioned_attention,
    resnet,
    shared_times,
    solve,
    places,
)


def difference(check: Callable[[FlowOperations], torch.Tensor], dtype: torch.dtype) -> float:
    """Return the largest difference."""
    ours, plain = check(DeviceOperations(dtype)), check(PlainOperations(dtype))
    return float((ours.float() - plain.float()).abs().max())


if __name__ == "__main__":
    torch.set_num_threads(1)
    dtypes = {"fp32": torch.float32, "fp16": torch.float16}
    found = {f"{each.__name__} {name}": difference(each, of) for each in CHECKS for name, of in dtypes.items()}
    json.dump(found, sys.stdout)
