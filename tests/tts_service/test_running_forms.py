"""Which module runs in which type: what is set counts, and what is left to the service goes by the device."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from tests.fakes.tiny_weights import tiny_folder
from tts_service.config import ModelChoice, Precisions, ServiceConfig, load_config
from tts_service.engines import engine_parts
from tts_service.errors import StartupError
from tts_service.load_progress import LoadProgress
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.running_form import AS_TRAINED, running_dtype
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_SPEAKER_ENCODER, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.running_forms import running_forms
from tts_service.types import Precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
FP32, BF16, FP16 = Precision


@pytest.mark.parametrize(
    ("settings", "device", "t3", "flow"),
    [
        (Precisions(), CPU, FP32, FP32),
        (Precisions(), CUDA, BF16, FP16),
        (Precisions(t3=FP32, s3gen_flow=FP32), CUDA, FP32, FP32),
        (Precisions(t3=FP16), CUDA, FP16, FP16),
        (Precisions(s3gen_flow=BF16), CUDA, BF16, BF16),
        (Precisions(t3=BF16), CPU, BF16, FP32),
    ],
)
def test_form_follows_settings_and_device(
    settings: Precisions, device: torch.device, t3: Precision, flow: Precision
) -> None:
    """Whatever is not set is fp32 on a CPU, and on a GPU what is fast and holds there; nothing else is ever cast."""
    forms = running_forms(settings, device)

    assert {T3: t3, S3GEN_FLOW: flow} == {name: form.precision for name, form in forms.items()}


def test_nothing_is_arranged_anew_on_a_cpu() -> None:
    """Without any setting, a CPU computes with the bits that it always did."""
    assert {T3: AS_TRAINED, S3GEN_FLOW: AS_TRAINED} == running_forms(Precisions(), CPU)


def test_matrices_of_turbo_s_tokens_lie_output_by_output_on_a_gpu() -> None:
    """As a product of very few lines reads them; no other tensor changes its order, nor do those of other models."""
    form = running_forms(Precisions(), CUDA)[T3]
    shapes = {
        "tfmr.h.3.mlp.c_fc.weight": (8, 32),
        "tfmr.h.3.ln_1.weight": (8,),
        "tfmr.layers.3.mlp.up_proj.weight": (32, 8),
    }

    assert [(1, 0), None, None] == [form.of_tensor(*each).memory_order for each in _float32(shapes)]


def _float32(shapes: dict[str, tuple[int, ...]]) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
    return [(name, torch.float32, shape) for name, shape in shapes.items()]


def test_flow_is_arranged_for_products_on_a_gpu() -> None:
    """In every precision: what is captured multiplies by views of the weights."""
    form = running_forms(Precisions(s3gen_flow=FP32), CUDA)[S3GEN_FLOW]

    assert (0, 2, 1) == form.of_tensor("a.convolution.weight", torch.float32, (4, 4, 3)).memory_order


def test_modules_are_loaded_in_the_precision_that_is_set(tmp_path_factory: pytest.TempPathFactory) -> None:
    """From settings to weights: the modules that are named, and no others."""
    shared = tmp_path_factory.getbasetemp()
    config = ServiceConfig(
        model=ModelChoice.ENGLISH,
        weights=str(tiny_folder(shared, ChatterboxModel.ENGLISH)),
        device="cpu",
        cache_dir=shared / "cache",
        voice_dir=shared / "voices",
        precision=Precisions(t3=BF16),
    )
    specs = {spec.name: spec for spec in engine_parts(config, LoadProgress()).catalog}
    modules = (specs[name].load() for name in (T3, S3GEN_FLOW, S3GEN_VOCODER, S3GEN_SPEAKER_ENCODER))

    assert [torch.bfloat16, *[torch.float32] * 3] == [
        running_dtype(module) for module in modules if isinstance(module, torch.nn.Module)
    ]


def test_precision_is_set_by_file_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Module by module, as all settings are."""
    file = tmp_path / "service.toml"
    file.write_text('[precision]\nt3 = "fp32"\ns3gen_flow = "bf16"\n')
    monkeypatch.setenv("GREENROOM_SERVICE_PRECISION__T3", "fp16")
    precision: Literal["auto"] | Precision = load_config(file, {}).precision.t3

    assert (FP16, BF16) == (precision, load_config(file, {}).precision.s3gen_flow)


@pytest.mark.parametrize("line", ['t3 = "int8"', 'vocoder = "fp16"', 's3gen_flow = "half"'])
def test_precision_that_does_not_hold_is_refused(tmp_path: Path, line: str) -> None:
    """Neither unknown types nor modules that are never cast."""
    file = tmp_path / "service.toml"
    file.write_text(f"[precision]\n{line}\n")
    with pytest.raises(StartupError, match=r"precision\."):
        load_config(file, {})
