"""The modules of Chatterbox's models, and how each comes from disk."""

from collections.abc import Callable
from pathlib import Path

from tts_service.models.chatterbox.layout import VOICE_MODULES
from tts_service.models.chatterbox.loading import ModelWeights
from tts_service.models.module_spec import ModuleSpec
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.types import ModuleName

LoadProgress = Callable[[ModuleName, int], None]
"""Hears how many of a module's bytes are there, whenever it is loaded, from the thread that loads it."""


def _unheard(module: ModuleName, done_bytes: int) -> None:
    """Tell nobody."""
    del module, done_bytes


def chatterbox_catalog(
    weights: ModelWeights, cache_dir: Path, *, progress: LoadProgress = _unheard
) -> tuple[ModuleSpec, ...]:
    """Return the modules of one of Chatterbox's models, in the order of the data path.

    What they hold is known from their files, so that nothing has to be measured.
    """
    modules = (_chatterbox_module(weights, name, progress) for name in weights.modules)
    return (*modules, *watermark_catalog(cache_dir))


def _chatterbox_module(weights: ModelWeights, name: ModuleName, progress: LoadProgress) -> ModuleSpec:
    return ModuleSpec(
        name=name,
        load=lambda: weights.load(name, progress=lambda done_bytes, _total: progress(name, done_bytes)),
        forget=lambda: weights.memories.drop(name),
        rests_at_home=name not in VOICE_MODULES,
        home_bytes=weights.master_bytes(name),
    )
