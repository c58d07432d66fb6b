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

SCRIPT = Path(__file__).with_name("loading_peak.py")
ALLOWED = 1.15


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.MULTILINGUAL])
def test_loading_takes_little_more_memory_than_the_weights(tmp_path: Path, model: ChatterboxModel) -> None:
    """Of 96 MiB in either form of file, one of them in a single tensor of 64, no second copy is ever there."""
    tensors = {f"layer{number}": torch.full((1 << 20,), 0.5) for number in range(8)} | {"big": torch.ones(1 << 24)}
    path = tmp_path / LAYOUTS[model].module_file(VOICE_ENCODER).file
    if path.suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(tmp_path), model, VOICE_ENCODER],
        cwd=SCRIPT.parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert 0 == run.returncode, run.stderr
    seen = json.loads(run.stdout)

    assert 96 << 20 == seen["weights"]
    assert seen["weights"] <= seen["peak"] <= ALLOWED * seen["weights"]
