"""The modules that there are, and how each comes from disk. Which tiers a machine has is not known here."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tts_service.models import builtin, perth
from tts_service.models.builtin import BuiltinVoice
from tts_service.models.perth import PerthDetector, PerthEncoder
from tts_service.models.weights import CachedWeights
from tts_service.types import VOICE, WATERMARK_DETECTOR, WATERMARK_ENCODER, ModuleName


def _nothing() -> None:
    """Do nothing: most modules keep nothing beside themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSpec:
    """One module: the smallest thing that moves.

    `load` returns it, ready to compute, and is called for every restore. `install` runs once before the first: it
    brings in what stays (libraries, converted files), so that this is not taken for the module's bytes. `forget` runs
    after every eviction and empties what outlives the module. `rests_at_home` is False for a module that leaves again
    when it has not been used for a while. `home_bytes` is what it holds at home; None has that measured. None of the
    three may lease.
    """

    name: ModuleName
    load: Callable[[], object]
    install: Callable[[], object] = _nothing
    forget: Callable[[], object] = _nothing
    rests_at_home: bool = True
    home_bytes: int | None = None


def builtin_catalog(cache_dir: Path) -> tuple[ModuleSpec, ...]:
    """Return the modules of the built-in voice, in the order of the data path; files are kept in `cache_dir`."""
    return (_voice(cache_dir), _watermark_encoder(cache_dir), _watermark_detector(cache_dir))


def _voice(cache_dir: Path) -> ModuleSpec:
    lexicon = CachedWeights(
        folder=cache_dir, name="voice-lexicon", source=builtin.lexicon_source(), make=builtin.lexicon_tensors
    )
    return _rehearsed(
        ModuleSpec(name=VOICE, load=lambda: BuiltinVoice(lexicon.read()), install=lexicon.ensure, forget=builtin.forget)
    )


def _watermark_encoder(cache_dir: Path) -> ModuleSpec:
    weights = CachedWeights(
        folder=cache_dir,
        name=WATERMARK_ENCODER,
        source=_perth_source(),
        make=lambda: perth.encoder_state(perth.upstream_state_dict()),
    )
    return _rehearsed(
        ModuleSpec(
            name=WATERMARK_ENCODER,
            load=lambda: PerthEncoder.from_state_dict(weights.read()),
            install=weights.ensure,
        )
    )


def _watermark_detector(cache_dir: Path) -> ModuleSpec:
    weights = CachedWeights(
        folder=cache_dir,
        name=WATERMARK_DETECTOR,
        source=_perth_source(),
        make=lambda: perth.detector_state(perth.upstream_state_dict()),
    )
    return _rehearsed(
        ModuleSpec(
            name=WATERMARK_DETECTOR,
            load=lambda: PerthDetector.from_state_dict(weights.read()),
            install=weights.ensure,
            rests_at_home=False,
        )
    )


def _perth_source() -> str:
    return f"resemble-perth {importlib.metadata.version('resemble-perth')}"


def _rehearsed(spec: ModuleSpec) -> ModuleSpec:
    """Let `install` also load the module once and drop it: the first load of the voice leaves 16 MiB of libraries."""

    def install() -> None:
        spec.install()
        spec.load()

    return replace(spec, install=install)
