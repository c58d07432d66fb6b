"""What captured T3 does on a GPU, on one that is not there: nothing that a capture refuses."""

from typing import Any

import pytest
import torch

from tests.fakes.refusing_graphs import (
    HostTensorError,
    RefusingGraphs,
    gpu_without_memory,
    move_to_gpu,
    without_kernels,
)
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.t3_network import build_t3
from tts_service.speech.alignment_guard import ALIGNED_HEADS
from tts_service.speech.captured import t3_weights
from tts_service.speech.captured.t3_passes import Buckets, T3Passes
from tts_service.speech.captured.t3_state import SlotState
from tts_service.speech.captured.t3_ways import FEW_LINES, kernel_ways
from tts_service.speech.captured.t3_weights import weights_of
from tts_service.speech.captured.token_pages import PageShape

MULTILINGUAL, TURBO = ChatterboxModel.MULTILINGUAL, ChatterboxModel.TURBO


@pytest.mark.parametrize("few_lines", [0, FEW_LINES], ids=["library", "own"])
@pytest.mark.parametrize("model", list(ChatterboxModel))
def test_captured_work_needs_nothing_of_the_host(
    model: ChatterboxModel, few_lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, prompts and both kinds of choices take and make tensors of the GPU alone, and read none of them back."""
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA build only")
    from tts_service.speech.captured import t3_choosing, t3_following, t3_kernels  # noqa: PLC0415  # They need Triton.

    without_kernels(monkeypatch, t3_choosing, "weigh", "keep", "pick")
    without_kernels(monkeypatch, t3_following, "watch", "follow")
    without_kernels(
        monkeypatch, t3_kernels, "activate", "add_norm", "attend", "embed", "join", "multiply", "place_prompt"
    )
    # Neighbours are known by their addresses, which these have not.
    monkeypatch.setattr(t3_weights, "adjacent", torch.cat)
    t3: Any = build_t3(model, NetworkSize.TINY)
    with gpu_without_memory():
        move_to_gpu(t3, torch.bfloat16)
        graphs = RefusingGraphs()
        head = t3.speech_head.weight
        passes = T3Passes(
            graphs,
            state=SlotState.on(graphs, slots=2, vocabulary=len(head), positions=512),
            pages=graphs.buffer(3, *PageShape.of(t3).dimensions, dtype=torch.bfloat16),
            head=head,
            buckets=Buckets(slots=(1, 2), rows=(1,) if model is TURBO else (1, 2), prompts=(64,)),
            ways=kernel_ways(model, few_lines),
        )
        passes.capture(weights_of(t3, ALIGNED_HEADS if model is MULTILINGUAL else ()))

    assert {"t3 step", "t3 prompt", "t3 choice"} == {name.rpartition(" ")[0] for name in graphs.captured}


def test_number_assigned_through_an_index_of_tensors_is_refused() -> None:
    """The graphs of this test find what a GPU has found: such a number is copied from the host."""
    with gpu_without_memory():
        graphs = RefusingGraphs()
        marks, places = graphs.buffer(3, dtype=torch.bool), graphs.buffer(2, dtype=torch.int64)

        def assign() -> None:
            marks[places] = True

        with pytest.raises(HostTensorError):
            graphs.capture("assigned", assign)
