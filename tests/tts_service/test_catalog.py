"""The catalog of modules, and that what comes back from the cache is what went in."""

from pathlib import Path

import numpy as np
import pytest

from tts_service.models import watermark_catalog
from tts_service.models.builtin_catalog import builtin_catalog
from tts_service.models.module_spec import ModuleSpec
from tts_service.models.perth import PerthDetector, PerthEncoder
from tts_service.types import VOICE, WATERMARK_DETECTOR, WATERMARK_ENCODER, ModuleName


def test_catalog_lists_modules_in_the_order_of_the_data_path(tmp_path: Path) -> None:
    """Voice, then the mark, then its detector, which rests away; nothing is read or written before it is asked for."""
    specs = builtin_catalog(tmp_path / "cache")

    assert [(VOICE, True), (WATERMARK_ENCODER, True), (WATERMARK_DETECTOR, False)] == [
        (spec.name, spec.rests_at_home) for spec in specs
    ]
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "kind"), [(WATERMARK_ENCODER, PerthEncoder), (WATERMARK_DETECTOR, PerthDetector)])
def test_watermark_module_is_converted_once_and_then_needs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: ModuleName, kind: type
) -> None:
    """After the installation, the module comes from the cache alone."""
    spec = _spec(tmp_path, name)
    spec.install()
    monkeypatch.setattr(
        watermark_catalog.perth, "upstream_state_dict", lambda: pytest.fail("read the checkpoint again")
    )
    module = _spec(tmp_path, name).load()

    assert kind is type(module)
    assert [name] == [path.name.split("-")[0] for path in tmp_path.iterdir()]


def test_modules_loaded_twice_compute_the_same_bits(tmp_path: Path) -> None:
    """A move changes no sample."""
    voice, encoder = _spec(tmp_path, VOICE), _spec(tmp_path, WATERMARK_ENCODER)
    marked = []
    for _ in range(2):
        speaker, marker = voice.load(), encoder.load()
        wave = speaker.synthesize("The same after every move.", seed=5, speaking_rate=1.0)  # type: ignore[attr-defined]
        marked.append(marker.mark(wave))  # type: ignore[attr-defined]

    assert np.array_equal(marked[0], marked[1])


def _spec(folder: Path, name: ModuleName) -> ModuleSpec:
    return next(spec for spec in builtin_catalog(folder) if spec.name == name)
