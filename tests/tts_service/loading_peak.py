"""Loads one file of weights and prints how much memory that took at most, as JSON; in a process of its own.

`python tests/tts_service/loading_peak.py FOLDER MODEL MODULE PRECISION`: the module's file is read as it is, whatever
it holds.
"""

import json
import sys
from pathlib import Path

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.loading import ModelWeights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.running_form import RunningForm
from tts_service.models.chatterbox.weight_file import stored_tensors
from tts_service.types import ModuleName, Precision


def status_bytes(name: str) -> int:
    """Return a line of the process's status, such as VmRSS or VmHWM, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def main(folder: Path, model: ChatterboxModel, module: ModuleName, precision: Precision) -> None:
    """Load once, and print one JSON object."""
    torch.aminmax(torch.zeros(4))
    layout = LAYOUTS[model]
    stored = {module: stored_tensors(folder / layout.module_file(module).file)}
    forms = {module: RunningForm(precision=precision)}
    weights = ModelWeights(folder=folder, layout=layout, size=NetworkSize.FULL, stored=stored, forms=forms)
    before_bytes = status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Begins VmHWM anew.
    master = weights.read_master(module)
    peak_bytes = status_bytes("VmHWM") - before_bytes
    sys.stdout.write(
        json.dumps({"weights": weights.byte_count(module), "peak": peak_bytes, "held": master.bytes_.nbytes})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), ChatterboxModel(sys.argv[2]), ModuleName(sys.argv[3]), Precision(sys.argv[4]))
