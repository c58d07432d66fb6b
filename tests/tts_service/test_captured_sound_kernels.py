"""The vocoder's Triton kernels give what torch gives, in Triton's interpreter on a CPU and on a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fakes.sound_kernels import largest_differences

ROOT = Path(__file__).resolve().parent.parent.parent


def test_kernels_in_the_interpreter_equal_torch() -> None:
    """Every operation and the excitation, computed by the kernels' own code, differ from torch's by rounding only."""
    pytest.importorskip("triton", reason="Triton comes with torch's CUDA build only")
    run = subprocess.run(
        [sys.executable, "-m", "tests.fakes.sound_kernels"],
        cwd=ROOT,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        check=True,
        capture_output=True,
        text=True,
    )

    differences = dict(line.split() for line in run.stdout.splitlines())

    assert {"leaked", "snaked", "finished", "added", "mixed", "excitation"} == differences.keys()
    assert {} == {name: value for name, value in differences.items() if not float(value) < 2e-6}


@pytest.mark.gpu
def test_kernels_on_the_gpu_equal_torch() -> None:
    """The same on a GPU, compiled."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    differences = largest_differences(torch.device("cuda"))

    assert {} == {name: value for name, value in differences.items() if not value < 2e-6}
