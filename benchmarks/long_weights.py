"""Synthetic weights that do not stop: for utterances of a given length. A copy of a folder but for T3's stop token."""

import os
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.vocabulary import START_TOKEN, STOP_TOKEN


def long_folder(folder: Path, model: ChatterboxModel) -> Path:
    """Return a folder beside this one whose stop token is as unlikely as its start token, made if it is not there."""
    target = folder.with_name(f"{folder.name}-long")
    if target.exists():
        return target
    making = folder.with_name(f"{folder.name}-making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    speaking = LAYOUTS[model].module_file(T3).file
    for path in folder.iterdir():
        if path.name != speaking:
            os.link(path, making / path.name)
    with safe_open(folder / speaking, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(folder / speaking)
    tensors["speech_head.weight"][STOP_TOKEN] = tensors["speech_head.weight"][START_TOKEN]
    save_file(tensors, making / speaking, metadata)
    making.rename(target)
    os.sync()  # Gigabytes on their way to the disk would hold up whoever writes there next.
    return target
