"""The form in which each module of a model runs: by what is set, and by where it computes. Pure.

On a CPU everything runs as it was trained, unless something else is asked for. On a GPU T3 runs in bf16, which has
fp32's range, and the flow in fp16, which is eight times finer and whose range it stays far inside. What that changes
is measured by `benchmarks/drift.py`. The vocoder (its phases add up over a second) and the voices' encoders (their
results are kept) are never cast.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

import torch

from tts_service.config import Precisions
from tts_service.models.chatterbox.running_form import AS_TRAINED, RunningForm
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.captured.flow_weights import flow_form
from tts_service.speech.captured.t3_weights import t3_form
from tts_service.types import ModuleName, Precision

GPU_PRECISIONS: Final = {T3: Precision.BF16, S3GEN_FLOW: Precision.FP16}
"""What `auto` is on a GPU."""


def running_forms(settings: Precisions, device: torch.device) -> Mapping[ModuleName, RunningForm]:
    """Return the forms of the modules that do not simply run as they were trained."""
    t3 = precision_of(T3, settings.t3, device)
    flow = precision_of(S3GEN_FLOW, settings.s3gen_flow, device)
    return {
        T3: _form(t3_form, t3, device),
        S3GEN_FLOW: _form(flow_form, flow, device),
    }


def _form(made: Callable[[Precision], RunningForm], precision: Precision, device: torch.device) -> RunningForm:
    """Return what captured work likes, but on a CPU in fp32 what is upstream's to the bit."""
    return AS_TRAINED if device.type == "cpu" and precision is Precision.FP32 else made(precision)


def precision_of(module: ModuleName, wanted: Precision | Literal["auto"], device: torch.device) -> Precision:
    """Return in which type a module computes."""
    if isinstance(wanted, Precision):
        return wanted
    return Precision.FP32 if device.type == "cpu" else GPU_PRECISIONS[module]
