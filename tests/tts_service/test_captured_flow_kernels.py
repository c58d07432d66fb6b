"""The flow's Triton kernels against torch's functions."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("flow_kernels_interpreted.py")
TOLERANCES = {"fp32": 1e-5, "fp16": 1e-2}
"""Values are of size 4: fp16's last bit is 4e-3 there."""

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton comes with torch for CUDA")


def checked(environment: dict[str, str]) -> dict[str, float]:
    """Run the comparison in a process of its own, and return what differs by how much."""
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])} | environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def too_far(found: dict[str, float]) -> dict[str, float]:
    """Return what differs by more than its type allows."""
    return {name: each for name, each in found.items() if not each <= TOLERANCES[name.split(" ", 1)[1]]}


@needs_triton
def test_flow_kernels_interpreted_equal_torch() -> None:
    """Run by Triton's interpreter, every kernel computes what torch's functions do."""
    found = checked({"TRITON_INTERPRET": "1"})

    assert {} == too_far(found)
    assert 16 == len(found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_flow_kernels_on_a_gpu_equal_torch() -> None:
    """Compiled, every kernel computes what torch's functions do on the same device."""
    found = checked({"FLOW_KERNELS_DEVICE": "cuda"})

    assert {} == too_far(found)
    assert 16 == len(found)
