"""The watermark's two modules, and how each comes from disk."""

import importlib.metadata
from pathlib import Path

from tts_service.models import perth
from tts_service.models.module_spec import ModuleSpec, rehearsed
from tts_service.models.perth import PerthDetector, PerthEncoder
from tts_service.models.weights import CachedWeights
from tts_service.types import WATERMARK_DETECTOR, WATERMARK_ENCODER


def watermark_catalog(cache_dir: Path) -> tuple[ModuleSpec, ...]:
    """Return encoder and detector; converted weights are kept in `cache_dir`."""
    return (_encoder(cache_dir), _detector(cache_dir))


def _encoder(cache_dir: Path) -> ModuleSpec:
    weights = CachedWeights(
        folder=cache_dir,
        name=WATERMARK_ENCODER,
        source=_perth_source(),
        make=lambda: perth.encoder_state(perth.upstream_state_dict()),
    )
    return rehearsed(
        ModuleSpec(
            name=WATERMARK_ENCODER,
            load=lambda: PerthEncoder.from_state_dict(weights.read()),
            install=weights.ensure,
        )
    )


def _detector(cache_dir: Path) -> ModuleSpec:
    weights = CachedWeights(
        folder=cache_dir,
        name=WATERMARK_DETECTOR,
        source=_perth_source(),
        make=lambda: perth.detector_state(perth.upstream_state_dict()),
    )
    return rehearsed(
        ModuleSpec(
            name=WATERMARK_DETECTOR,
            load=lambda: PerthDetector.from_state_dict(weights.read()),
            install=weights.ensure,
            rests_at_home=False,
        )
    )


def _perth_source() -> str:
    return f"resemble-perth {importlib.metadata.version('resemble-perth')}"
