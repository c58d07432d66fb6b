"""That loading holds the weights once: measured in a process of its own, because the resident set is everybody's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.s3gen_network import VOICE_ENCODER
from tts_service.types import Precision

SCRIPT = Path(__file__).with_name("loading_peak.py")
ALLOWED = 1.15


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.MULTILINGUAL])
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_loading_takes_little_more_memory_than_the_weights(
    tmp_path: Path, model: ChatterboxModel, precision: Precision
) -> None:
    """Of 160 MiB in either form of file, 128 of them in a single tensor, no second copy is ever there.

    Nor is what is cast on its way: then half of it is held, and little more was at any time.
    """
    tensors = {f"layer{number}": torch.full((1 << 20,), 0.5) for number in range(8)} | {"big": torch.ones(1 << 25)}
    path = tmp_path / LAYOUTS[model].module_file(VOICE_ENCODER).file
    if path.suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(tmp_path), model, VOICE_ENCODER, precision],
        cwd=SCRIPT.parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert 0 == run.returncode, run.stderr
    seen = json.loads(run.stdout.splitlines()[-1])

    assert 160 << 20 == seen["weights"]
    assert {Precision.FP32: 160 << 20, Precision.BF16: 80 << 20}[precision] == seen["held"]
    assert seen["held"] <= seen["peak"] <= ALLOWED * seen["held"]
