"""The pieces of a T3 step, each for itself: products and attention over all layers, by how they are cut."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import torch

from benchmarks.cuda_graphs import CudaGraphs
from benchmarks.t3_rig import LIBRARY, Lab, Rig, device_ms, fill
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.t3_arithmetic import Hidden, T3Arithmetic
from tts_service.speech.captured.t3_captured import Slot
from tts_service.speech.captured.t3_passes import Buckets
from tts_service.speech.captured.t3_tuning import Tuning
from tts_service.speech.captured.t3_weights import T3Weights, weights_of

ROWS: Final = 2
CUTS: Final = ((2, 4), (4, 4), (8, 4), (8, 8), (16, 4), (16, 8), (4, 8), (2, 8))
"""Outputs of a program, and its warps."""

SHARES: Final = (
    (1, 64, 4),
    (1, 128, 8),
    (1, 256, 8),
    (2, 128, 4),
    (4, 64, 4),
    (4, 128, 4),
    (8, 64, 4),
    (8, 64, 2),
    (8, 128, 4),
    (16, 64, 2),
)
"""Shares of a row's head, positions looked at at once, and warps."""


def _ways(weights: T3Weights) -> Iterator[tuple[str, T3Arithmetic]]:
    from tts_service.speech.captured.t3_kernels import (  # noqa: PLC0415  # Triton comes with CUDA alone.
        FewLinesArithmetic,
        KernelArithmetic,
    )

    yield "library", KernelArithmetic(weights, Tuning())
    for outputs, warps in CUTS:
        tuning = Tuning(few_outputs=outputs, few_warps=warps, many_outputs=outputs, many_warps=warps)
        yield f"{outputs}/{warps}", FewLinesArithmetic(weights, tuning)


def measure_products(lab: Lab) -> None:
    """Measure each kind of product over all layers, norms and activations included; microseconds and TB/s."""
    if not lab.is_cuda:
        return
    weights = weights_of(lab.network(ChatterboxModel.ENGLISH, lab.fast))
    channels, layers = weights.channels, weights.layers
    hidden = Hidden(sum=torch.randn(ROWS, channels, device=lab.device))
    attended = torch.randn(ROWS, channels, device=lab.device).to(weights.dtype)
    inner = torch.randn(ROWS, 4 * channels, device=lab.device).to(weights.dtype)
    logits = torch.empty(ROWS, weights.vocabulary, device=lab.device)
    kinds: dict[str, Callable[[T3Arithmetic, Any], object]] = {
        "qkv": lambda way, layer: way.project(hidden, layer.attention_norm, layer.projections),
        "output": lambda way, layer: way.add(hidden, attended, layer.output),
        "feed": lambda way, layer: way.feed(hidden, layer),
        "back": lambda way, layer: way.feed_back(hidden, inner, layer.back),
        "head": lambda way, _: way.logits(hidden, weights.final_norm, weights.head, logits),
    }
    for kind, made in kinds.items():
        found = []
        for name, way in _ways(weights):
            with suppress(Exception):  # Some cuts do not fit.
                found.append(f"{name} {_layers_us(lab, way, made, layers):.1f}")
        print(f"{kind:7} us a layer (outputs/warps):", ", ".join(found), flush=True)
        hidden.sum.normal_()
        hidden.pending = None


def _layers_us(lab: Lab, way: T3Arithmetic, made: Callable[[T3Arithmetic, Any], object], layers: Any) -> float:
    def work() -> None:
        for layer in layers:
            made(way, layer)

    return 1000 * device_ms(lab, CudaGraphs(lab.device).capture("pieces", work), 10) / len(layers)


def measure_attention(lab: Lab) -> None:
    """Measure attention and the product after it over all layers, by shares, positions at once and warps."""
    if not lab.is_cuda:
        return
    print("attention and output, us a layer at 100 / 300 / 900")
    buckets = Buckets(slots=(1,), rows=(ROWS,), prompts=(64,))
    rig = Rig(lab, ChatterboxModel.ENGLISH, lab.fast, buckets, few_lines=LIBRARY)
    fill(rig.pages)
    slot = rig.open(rig.prompt(60))
    for shares, positions, warps in SHARES:
        for apart in (1, 0) if shares > 1 else (1,):
            joined = "joined apart" if apart else "joined in output"
            found = _attention_us(
                rig, slot, shares=shares, positions=positions, attention_warps=warps, joins_apart=apart
            )
            print(
                f"{shares:2} shares, {positions:3} at once, {warps} warps, {joined:17}", " / ".join(found), flush=True
            )


def _attention_us(rig: Rig, slot: Slot, **tuning: int) -> list[str]:
    from tts_service.speech.captured.t3_kernels import (  # noqa: PLC0415  # Triton comes with CUDA alone.
        FewLinesArithmetic,
    )

    weights = weights_of(rig.t3)
    device, passes = rig.lab.device, rig.captured._passes  # noqa: SLF001  # A measurement.
    passes.set_slots([slot.index], ROWS)
    batch = passes._batch(1, ROWS)  # noqa: SLF001  # The same.
    projected = torch.randn(ROWS, 3 * weights.channels, device=device).to(weights.dtype)
    way = FewLinesArithmetic(weights, Tuning(**tuning))

    def work() -> None:
        hidden = way.tokens(weights, batch)
        for number, layer in enumerate(weights.layers):
            way.add(hidden, way.attend(projected, number, hidden, batch), layer.output)

    replay = CudaGraphs(device).capture("attention", work)
    found = []
    for position in (100, 300, 900):
        rig.place([slot], position)
        found.append(f"{1000 * device_ms(rig.lab, replay, 10) / len(weights.layers):.1f}")
    return found
