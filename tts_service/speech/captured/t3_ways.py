"""Which arithmetic a pass takes: torch's functions on a CPU, kernels on a GPU, and there by how many lines it has."""

from typing import Final

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.captured.t3_arithmetic import T3Arithmetic, Watched
from tts_service.speech.captured.t3_choice import choose
from tts_service.speech.captured.t3_guard import follow, watch
from tts_service.speech.captured.t3_passes import Ways
from tts_service.speech.captured.t3_state import Batch
from tts_service.speech.captured.t3_torch import TorchArithmetic
from tts_service.speech.captured.t3_tuning import Tuning, chains
from tts_service.speech.captured.t3_weights import T3Weights

FEW_LINES: Final = 4
"""Up to so many lines our own products are taken, and cuBLAS' for more."""


def usual_ways(model: ChatterboxModel, device: torch.device) -> Ways:
    """Return what is right for a device."""
    return kernel_ways(model, early=chains(device)) if device.type == "cuda" else torch_ways(model)


def torch_ways(model: ChatterboxModel) -> Ways:
    """Return the plain ways, which read lengths on the host."""

    def chosen(weights: T3Weights, logits: torch.Tensor, batch: Batch, ordered: bool) -> None:  # noqa: FBT001  # `Ways`.
        choose(weights, logits, batch, model, ordered=ordered)

    def followed(weights: T3Weights, watched: Watched, batch: Batch) -> None:
        follow(batch, watch(weights, watched, batch))

    return Ways(arithmetic=lambda weights, _lines: TorchArithmetic(weights), choose=chosen, follow=followed)


def kernel_ways(model: ChatterboxModel, few_lines: int = FEW_LINES, **tuning: int) -> Ways:
    """Return the ways with kernels, which are loaded now; `tuning` is for measurements."""
    from tts_service.speech.captured import (  # noqa: PLC0415  # Triton comes with CUDA alone.
        t3_choosing,
        t3_following,
        t3_kernels,
    )

    def arithmetic(weights: T3Weights, lines: int) -> T3Arithmetic:
        kind = t3_kernels.FewLinesArithmetic if lines <= few_lines else t3_kernels.KernelArithmetic
        return kind(weights, Tuning.of(lines, **tuning))

    def chosen(weights: T3Weights, logits: torch.Tensor, batch: Batch, ordered: bool) -> None:  # noqa: FBT001  # `Ways`.
        t3_choosing.choose(weights, logits, batch, model, ordered=ordered)

    return Ways(arithmetic=arithmetic, choose=chosen, follow=t3_following.follow_text)
