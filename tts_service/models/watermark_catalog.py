"""The watermark's two modules, and how each comes from disk."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from tts_service.models import perth
from tts_service.models.module_spec import ModuleSpec, rehearsed
from tts_service.models.perth import PerthDetector, PerthEncoder
from tts_service.models.weights import CachedWeights
from tts_service.types import WATERMARK_DETECTOR, WATERMARK_ENCODER, ModuleName


def watermark_catalog(cache_dir: Path) -> tuple[ModuleSpec, ...]:
    """Return encoder and detector; converted weights are kept in `cache_dir`."""
    return (
        _module(cache_dir, WATERMARK_ENCODER, perth.encoder_state, PerthEncoder.from_state_dict, rests_at_home=True),
        _module(
            cache_dir, WATERMARK_DETECTOR, perth.detector_state, PerthDetector.from_state_dict, rests_at_home=False
        ),
    )


def _module(
    cache_dir: Path,
    name: ModuleName,
    own_part: Callable[[perth.State], perth.State],
    build: Callable[[perth.State], object],
    *,
    rests_at_home: bool,
) -> ModuleSpec:
    weights = CachedWeights(
        folder=cache_dir,
        name=name,
        source=_perth_source(),
        make=lambda: own_part(perth.upstream_state_dict()),
    )
    return rehearsed(
        ModuleSpec(name=name, load=lambda: build(weights.read()), install=weights.ensure, rests_at_home=rests_at_home)
    )


def _perth_source() -> str:
    return f"resemble-perth {importlib.metadata.version('resemble-perth')}"
