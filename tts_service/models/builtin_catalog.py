"""The modules of the built-in voice, and how each comes from disk."""

from pathlib import Path

from tts_service.models import builtin
from tts_service.models.builtin import BuiltinVoice
from tts_service.models.module_spec import ModuleSpec, rehearsed
from tts_service.models.watermark_catalog import watermark_catalog
from tts_service.models.weights import CachedWeights
from tts_service.types import VOICE


def builtin_catalog(cache_dir: Path) -> tuple[ModuleSpec, ...]:
    """Return the modules of the built-in voice, in the order of the data path; files are kept in `cache_dir`."""
    return (_voice(cache_dir), *watermark_catalog(cache_dir))


def _voice(cache_dir: Path) -> ModuleSpec:
    lexicon = CachedWeights(
        folder=cache_dir, name="voice-lexicon", source=builtin.lexicon_source(), make=builtin.lexicon_tensors
    )
    return rehearsed(
        ModuleSpec(name=VOICE, load=lambda: BuiltinVoice(lexicon.read()), install=lexicon.ensure, forget=builtin.forget)
    )
