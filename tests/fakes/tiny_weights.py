"""Tiny synthetic weights on disk, made once for all tests, and copies of them that can be damaged."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import no_progress
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.synthetic_folder import ensure_synthetic
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel

Change = Callable[[dict[str, torch.Tensor]], None]


def tiny_folder(temporary: Path, model: ChatterboxModel) -> Path:
    """Return a model's folder below `temporary`, which all tests of a run share; nobody may write into it."""
    made = SyntheticModel(model=model, size=NetworkSize.TINY, seed=0)
    return ensure_synthetic(temporary, made, progress=no_progress)


def own_copy(folder: Path, target: Path) -> Path:
    """Return a folder with the same files, which can be replaced one by one."""
    target.mkdir()
    for path in folder.iterdir():
        os.link(path, target / path.name)
    return target


def replaced(path: Path, data: bytes) -> None:
    """Put other bytes under a file's name; the file that stood there is somebody else's too."""
    path.unlink()
    path.write_bytes(data)


def changed(path: Path, change: Change) -> None:
    """Write a file of weights anew with its tensors changed."""
    is_archive = path.suffix == ".pt"
    tensors = torch.load(path, weights_only=True) if is_archive else load_file(path)
    change(tensors)
    path.unlink()
    if is_archive:
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
