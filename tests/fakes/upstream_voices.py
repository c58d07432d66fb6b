"""Voices as upstream's `Conditionals.save` writes them."""

import io
from typing import Any

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel


def upstream_content(model: ChatterboxModel = ChatterboxModel.ENGLISH) -> dict[str, Any]:
    """Return a good voice in upstream's form."""
    return SyntheticModel(model=model, size=NetworkSize.TINY, seed=3).conditionals()


def saved(what: object) -> bytes:
    """Return something as `torch.save` writes it."""
    file = io.BytesIO()
    torch.save(what, file)
    return file.getvalue()
