"""From settings to parts: modules, offer and voices of each model on tiny weights, and what stops the start."""

from pathlib import Path

import pytest
import torch

from tests.fakes.tiny_weights import changed, own_copy, tiny_folder
from tts_service.config import ModelChoice, ServiceConfig
from tts_service.engine_parts import EngineParts
from tts_service.engines import engine_parts
from tts_service.errors import StartupError
from tts_service.load_progress import LoadProgress
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.loading import open_weights
from tts_service.models.chatterbox.weight_identity import voice_weights_sum
from tts_service.speech.session_config import ModelFacts

SPEAKING = ("t3", "s3gen.flow", "s3gen.vocoder", "watermark.encoder")
AWAY = ("s3gen.tokenizer", "s3gen.speaker_encoder", "voice_encoder", "watermark.detector")
MODELS = [ModelChoice.ENGLISH, ModelChoice.MULTILINGUAL, ModelChoice.TURBO]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the tiny weights of all tests are."""
    return tmp_path_factory.getbasetemp()


def parts_of(model: ModelChoice, weights: Path | str, folder: Path) -> EngineParts:
    """Return the parts of a service on a CPU."""
    config = ServiceConfig(
        model=model, weights=str(weights), device="cpu", cache_dir=folder / "cache", voice_dir=folder / "voices"
    )
    return engine_parts(config, LoadProgress())


def facts_of(parts: EngineParts) -> ModelFacts:
    """Return the one model's facts."""
    (facts,) = parts.offer.models
    return facts


@pytest.mark.parametrize("model", MODELS)
def test_model_has_its_modules_in_the_order_of_the_data_path(shared: Path, tmp_path: Path, model: ModelChoice) -> None:
    """Eight modules; those for voices and detection rest away, and what each network holds is known before."""
    parts = parts_of(model, tiny_folder(shared, ChatterboxModel(model.value)), tmp_path)
    resting = {spec.name: spec.rests_at_home for spec in parts.catalog}
    speech = parts.models[model.value]

    assert [*SPEAKING[:3], *AWAY[:3], SPEAKING[3], AWAY[3]] == list(resting)
    assert dict.fromkeys(SPEAKING, True) | dict.fromkeys(AWAY, False) == resting
    assert all(spec.home_bytes for spec in parts.catalog if not spec.name.startswith("watermark."))
    assert SPEAKING[:3] == speech.modules


@pytest.mark.parametrize("model", MODELS)
def test_module_holds_what_the_catalog_says(shared: Path, tmp_path: Path, model: ModelChoice) -> None:
    """A module's tensors, each at its place, are the bytes that are told, and loading tells all bytes of the file."""
    folder = tiny_folder(shared, ChatterboxModel(model.value))
    weights = open_weights(folder, ChatterboxModel(model.value))
    for spec in parts_of(model, folder, tmp_path).catalog:
        if spec.name.startswith("watermark."):
            continue
        network = spec.load()
        assert isinstance(network, torch.nn.Module)
        held = {
            tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in network.state_dict().values()
        }

        assert spec.home_bytes in {storage.nbytes() for storage in held.values()}
        assert weights.byte_count(spec.name) <= (spec.home_bytes or 0)


def test_offer_of_each_model_says_what_it_has(shared: Path, tmp_path: Path) -> None:
    """Tags are Turbo's, languages Multilingual's, English first; every model brings a voice, and says it is noise."""
    found = {model: parts_of(model, tiny_folder(shared, ChatterboxModel(model.value)), tmp_path) for model in MODELS}
    english, multilingual, turbo = (facts_of(found[model]) for model in MODELS)

    assert ("english", ("en",), ()) == (english.id, english.languages, english.tags)
    assert ("turbo", ("en",), True) == (turbo.id, turbo.languages, "[laugh]" in turbo.tags)
    assert ("en", "ar") == multilingual.languages[:2]
    assert 23 == len(multilingual.languages) + len(multilingual.missing_languages)
    assert not set(multilingual.languages) & set(multilingual.missing_languages)
    for model, parts in found.items():
        facts = facts_of(parts)
        voice = parts.offer.voices[facts.default_voice]
        assert (facts.languages, (model.value,)) == (voice.languages, voice.models)
        assert "synthetic" in facts.description
        assert facts.creates_voices
        assert facts.settings


def test_default_voice_can_be_had_as_numbers(shared: Path, tmp_path: Path) -> None:
    """The voice of the model's folder is trimmed to two frames for each token."""
    parts = parts_of(ModelChoice.ENGLISH, tiny_folder(shared, ChatterboxModel.ENGLISH), tmp_path)
    assert parts.voices is not None
    voice = parts.voices.conditionals("default", "english")

    assert 2 * len(voice.prompt.tokens) == len(voice.prompt.mel)


def test_folder_without_a_voice_serves_those_that_are_made(shared: Path, tmp_path: Path) -> None:
    """No voice is offered, and the service starts."""
    folder = own_copy(tiny_folder(shared, ChatterboxModel.ENGLISH), tmp_path / "own")
    (folder / "conds.pt").unlink()

    assert [] == list(parts_of(ModelChoice.ENGLISH, folder, tmp_path).offer.voices)


def test_built_in_voice_says_why_it_speaks(tmp_path: Path) -> None:
    """What `auto` found missing stands in the model's description; nothing is written or asked for."""
    parts = parts_of(ModelChoice.AUTO, "hub", tmp_path)

    assert "no CUDA device" in facts_of(parts).description
    assert ["voice", "watermark.encoder", "watermark.detector"] == [spec.name for spec in parts.catalog]
    assert [] == list(tmp_path.iterdir())


def test_weights_that_are_not_good_stop_the_start_with_file_and_name(shared: Path, tmp_path: Path) -> None:
    """Everything that is wrong is said before anything is loaded."""
    folder = own_copy(tiny_folder(shared, ChatterboxModel.ENGLISH), tmp_path / "own")
    changed(folder / "t3_cfg.safetensors", lambda tensors: tensors.pop("speech_head.weight"))
    (folder / "ve.safetensors").unlink()
    with pytest.raises(StartupError) as raised:
        parts_of(ModelChoice.ENGLISH, folder, tmp_path)

    assert "t3_cfg.safetensors: speech_head.weight: is missing" in str(raised.value)
    assert "ve.safetensors: is missing" in str(raised.value)


def test_weights_that_are_not_in_the_cache_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leave, the hub is left alone; the message says how to give it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(StartupError, match="allow the download"):
        parts_of(ModelChoice.ENGLISH, "hub", tmp_path)


def test_voices_of_other_encoders_are_told_apart(shared: Path, tmp_path: Path) -> None:
    """The same encoders have the same sum wherever they are, others another; T3 makes no voices and does not count."""
    folder = tiny_folder(shared, ChatterboxModel.ENGLISH)
    same, other = own_copy(folder, tmp_path / "same"), own_copy(folder, tmp_path / "other")
    changed(same / "t3_cfg.safetensors", lambda tensors: tensors["speech_head.weight"].mul_(2))
    changed(other / "ve.safetensors", lambda tensors: tensors["proj.bias"].add_(1))
    sums = [voice_weights_sum(open_weights(each, ChatterboxModel.ENGLISH)) for each in (folder, same, other)]

    assert (True, False) == (sums[0] == sums[1], sums[0] == sums[2])


def test_model_whose_folder_has_no_voice_says_that_it_has_none(shared: Path, tmp_path: Path) -> None:
    """Such a model speaks with voices that are made for it; its offer names no default that is not there."""
    folder = own_copy(tiny_folder(shared, ChatterboxModel.ENGLISH), tmp_path / "weights")
    (folder / "conds.pt").unlink()
    parts = parts_of(ModelChoice.ENGLISH, folder, tmp_path)

    assert ("", []) == (facts_of(parts).default_voice, list(parts.offer.voices))
