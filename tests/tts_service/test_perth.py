"""Perth's modules against upstream's own functions, and their refusals."""

import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.fakes.real_watermarker import detector, encoder, upstream
from tests.fakes.spoken import spoken
from tts_service.errors import StartupError
from tts_service.models.perth import PerthDetector, PerthEncoder, detector_state, encoder_state, upstream_state_dict
from tts_service.types import Waveform

with warnings.catch_warnings():
    # Upstream imports pkg_resources, which warns.
    warnings.simplefilter("ignore")
    import perth

TEXT = "Nine little lights shone on the far side of the bay."


@pytest.fixture(scope="module")
def reference() -> Any:
    """Upstream's watermarker."""
    return perth.PerthImplicitWatermarker()


def whole_frames(samples: Waveform) -> Waveform:
    """Return the samples followed by zeros up to a whole frame."""
    return np.pad(samples, (0, -len(samples) % 240))


@pytest.mark.parametrize(("count", "gain"), [(961, 1.0), (12_345, 3.0), (24_000, 0.01), (60_001, 1.0)])
def test_mark_equals_upstream(reference: Any, count: int, gain: float) -> None:
    """The mark is what upstream returns for the clip padded to whole frames, cut to the clip's length."""
    clip = spoken(TEXT, gain=gain)[:count]
    with torch.inference_mode():
        expected = reference.apply_watermark(whole_frames(clip), 24_000)[:count]

    marked = encoder().mark(clip)

    assert len(expected) == len(marked)
    assert np.allclose(expected, marked, rtol=0, atol=3e-6)


def test_mark_beside_digital_silence_equals_upstream(reference: Any) -> None:
    """Zeros, whose frames upstream leaves out, come out as upstream leaves them."""
    zeros = np.zeros(12_000, np.float32)
    clip = np.concatenate([zeros, spoken(TEXT)[:24_000], zeros, spoken(TEXT)[24_000:48_000]])
    with torch.inference_mode():
        expected = reference.apply_watermark(clip, 24_000)

    assert np.allclose(expected, encoder().mark(clip), rtol=0, atol=3e-6)


def test_mark_changes_speech() -> None:
    """Marking does something: between -70 and -10 dB of the speech's peak."""
    clip = spoken(TEXT)

    change = float(np.abs(encoder().mark(clip) - clip).max() / np.abs(clip).max())

    assert 10 ** (-70 / 20) < change < 10 ** (-10 / 20)


@pytest.mark.parametrize("count", [0, 1, 2, 239, 240, 241, 719, 767, 770, 959, 960, 961, 4_801])
def test_mark_any_length_is_kept(count: int) -> None:
    """However short, as many samples come out as went in, all of them numbers, as float32."""
    marked = encoder().mark(spoken(TEXT)[:count])

    assert count == len(marked)
    assert marked.dtype == np.float32
    assert np.isfinite(marked).all()


def test_mark_of_digital_silence_is_silence() -> None:
    """Zeros stay zeros, without a NaN."""
    marked = encoder().mark(np.zeros(24_000, np.float32))

    assert float(np.abs(marked).max()) < 1e-6


def test_mark_leaves_its_input() -> None:
    """The caller's samples are not touched."""
    clip = spoken(TEXT).copy()

    encoder().mark(clip)

    assert spoken(TEXT).tobytes() == clip.tobytes()


@pytest.mark.parametrize("marked", [True, False])
def test_score_equals_upstream(reference: Any, marked: bool) -> None:  # noqa: FBT001  # A case of the table.
    """The score is upstream's unrounded one."""
    clip = encoder().mark(spoken(TEXT)) if marked else spoken(TEXT)
    with torch.inference_mode():
        expected = float(reference.get_watermark(clip, 24_000, round=False))

    assert expected == pytest.approx(detector().score(clip), abs=2e-3)


def test_score_of_digital_silence_is_nan() -> None:
    """There is nothing to look at in zeros, and the detector says so."""
    assert np.isnan(detector().score(np.zeros(24_000, np.float32)))


def test_modules_leave_inference_mode() -> None:
    """Inference mode is entered inside the call and left with it."""
    encoder().mark(spoken(TEXT)[:5_000])
    detector().score(spoken(TEXT))

    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("kind", "state", "mebibytes"),
    [(PerthEncoder, encoder_state, 9.0), (PerthDetector, detector_state, 26.6)],
)
def test_from_state_dict_own_part_is_enough(kind: Any, state: Any, mebibytes: float) -> None:
    """Each module loads from its own part of the weights, gives the same part back, and weighs what was measured."""
    part = state(upstream())

    module = kind.from_state_dict(part)

    assert part.keys() == module.state_dict().keys()
    assert all(torch.equal(weight, module.state_dict()[name]) for name, weight in part.items())
    assert f"<{kind.__name__} {mebibytes} MiB on cpu>" == repr(module)
    assert not any(weight.requires_grad for weight in module.parameters())


@pytest.mark.parametrize("kind", [PerthEncoder, PerthDetector])
def test_from_state_dict_other_part_is_refused(kind: Any) -> None:
    """Weights that are missing or too many are an error, never a guess."""
    other = detector_state(upstream()) if kind is PerthEncoder else encoder_state(upstream())

    with pytest.raises(RuntimeError):
        kind.from_state_dict(other)


def test_from_state_dict_draws_no_random_numbers() -> None:
    """Loading leaves torch's global generator alone, so that it changes no other module's noise."""
    before = torch.random.get_rng_state()

    PerthEncoder.from_state_dict(encoder_state(upstream()))

    assert torch.equal(before, torch.random.get_rng_state())


def test_upstream_state_dict_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to whoever runs the service; upstream's own loader prints to it."""
    upstream_state_dict()

    assert ("", "") == tuple(capfd.readouterr())


def test_upstream_state_dict_disabled_watermarker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """When upstream has set its class to None, the service does not start, and the message says what to do."""
    monkeypatch.setattr(perth, "PerthImplicitWatermarker", None)

    with pytest.raises(StartupError, match=r"pip install 'setuptools<81'"):
        upstream_state_dict()


def test_modules_disabled_watermarker_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights from the cache do not get around the refusal."""
    part = encoder_state(upstream())
    monkeypatch.setattr(perth, "PerthImplicitWatermarker", None)

    with pytest.raises(StartupError):
        PerthEncoder.from_state_dict(part)


def test_upstream_state_dict_without_pkg_resources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trap itself: imported where pkg_resources does not exist, upstream disables itself and we refuse."""
    for name in [name for name in sys.modules if name == "perth" or name.startswith("perth.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pkg_resources", None)

    with pytest.raises(StartupError, match=r"pip install 'setuptools<81'"):
        upstream_state_dict()


def test_upstream_state_dict_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    """A package without its weights is refused with the way out."""
    with pytest.raises(StartupError, match="reinstall"):
        upstream_state_dict(tmp_path / "perth_net_250000.pth.tar")


def test_upstream_state_dict_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    """One flipped bit in the weights, which torch's reader does not notice, is refused with the way out."""
    folder = Path(str(perth.__file__)).parent / "perth_net" / "pretrained" / "implicit"
    damaged = tmp_path / "perth_net_250000.pth.tar"
    shutil.copyfile(folder / damaged.name, damaged)
    with damaged.open("r+b") as file:
        file.seek(20_000_000)
        byte = file.read(1)[0]
        file.seek(20_000_000)
        file.write(bytes([byte ^ 1]))

    with pytest.raises(StartupError, match=r"damaged.*reinstall"):
        upstream_state_dict(damaged)
