"""What a start imports, told in a process of its own; and that what it leaves for later is known to be there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.tiny_weights import tiny_folder
from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.packages import VOICE_PACKAGES, import_networks, refuse_missing_packages
from tts_service.models.chatterbox.text_tokenizers import is_importable

REPOSITORY = Path(__file__).parent.parent.parent
NEVER = (
    *("transformers", "sympy", "torch._dynamo", "torch._inductor", "sklearn", "numba", "librosa.core"),
    *("scipy.stats", "scipy.optimize", "torchaudio.functional", "onnx.onnx_cpp2py_export"),
)
"""What no start needs, in seconds: English was 11 s of a processor with all of it, and is 3."""

OF_THE_BUILT_IN_VOICE = ("hibari", "onnxruntime")

SCRIPT = """
import json, sys
from pathlib import Path
import tts_service.__main__
from tts_service.config import ModelChoice, ServiceConfig
from tts_service.engines import engine_parts
from tts_service.load_progress import LoadProgress
import torch
from tts_service.residency.recurrent_layout import cudnn_flattening, flat_weights
model, weights, folder = sys.argv[1:4]
config = ServiceConfig(
    model=ModelChoice(model), weights=weights, device="cpu", cache_dir=Path(folder) / "c", voice_dir=Path(folder) / "v"
)
for spec in engine_parts(config, LoadProgress()).catalog:
    module = spec.load()
    if model != "builtin":
        flat_weights(module, cudnn_flattening(torch.device("cpu")))  # As a GPU's arenas ask for it.
print(json.dumps(sorted(sys.modules)))
"""


def _imported(model: str, weights: str, folder: Path) -> set[str]:
    """Return all that is imported once a model's modules are loaded."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, model, weights, str(folder)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert 0 == done.returncode, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_start_with_the_built_in_voice_imports_nothing_of_upstreams(tmp_path: Path) -> None:
    """Neither its package nor what that builds on; of Perth only the networks."""
    imported = _imported("builtin", "hub", tmp_path)

    assert set() == imported & {*NEVER, "chatterbox.models.t3", "diffusers", "librosa", "torchaudio", "huggingface_hub"}
    assert {"hibari", "perth.perth_net.perth_net_implicit.model.encoder"} <= imported


@pytest.mark.parametrize("model", ChatterboxModel)
def test_start_of_a_model_imports_only_what_networks_are_made_from(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, model: ChatterboxModel
) -> None:
    """No transformers, no compiler, no librosa, and nothing of the built-in voice."""
    imported = _imported(model.value, str(tiny_folder(tmp_path_factory.getbasetemp(), model)), tmp_path)

    assert set() == imported & {*NEVER, *OF_THE_BUILT_IN_VOICE}
    assert {"chatterbox.models.s3gen.hifigan", "chatterbox.models.s3tokenizer.s3tokenizer"} <= imported


@pytest.mark.parametrize("missing", VOICE_PACKAGES)
def test_start_without_a_package_that_voices_need_is_refused(missing: str) -> None:
    """It is not imported, but it is looked for; the message names it and says what to do."""
    with pytest.raises(StartupError, match=rf"voices .* {missing}: install .* again"):
        refuse_missing_packages(lambda name: name != missing)


def test_start_without_upstreams_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is missing ends the start with its name, and not with a traceback."""
    monkeypatch.setitem(sys.modules, "chatterbox.models.s3gen.hifigan", None)

    with pytest.raises(StartupError, match=r"chatterbox\.models\.s3gen\.hifigan cannot be imported .* again"):
        import_networks(lambda: None)


def test_packages_that_are_looked_for_are_installed() -> None:
    """The list holds names that can be imported here."""
    refuse_missing_packages()

    assert all(map(is_importable, VOICE_PACKAGES))


def test_import_ends_where_it_is_told_to() -> None:
    """Between two modules the start can be ended."""
    told = 0

    def tell() -> None:
        nonlocal told
        told += 1
        if told == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        import_networks(tell)

    assert 3 == told


STEPS = """
import json, sys
from tests.fakes.tiny_encoders import tiny_encoders
from tests.fakes.waves import speechlike
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.voice_encoding import VoiceEncoding, encoding_rules
encoders, turbo = tiny_encoders(), encoding_rules(ChatterboxModel.TURBO)
encoding, met = VoiceEncoding(speechlike(144_000), turbo), {}
while modules := encoding.next_modules:
    before = set(sys.modules)
    encoding.step({name: encoders[name] for name in modules})
    met |= {name: [*met.get(name, ()), *(set(sys.modules) - before)] for name in modules}
print(json.dumps(met))
"""


def test_steps_of_a_voice_import_nothing() -> None:
    """Their imports may take longer than a step may before the engine is held to hang, so they come before them."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STEPS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )

    assert 0 == done.returncode, done.stderr
    assert {"s3gen.tokenizer": [], "s3gen.speaker_encoder": [], "voice_encoder": []} == json.loads(done.stdout)
