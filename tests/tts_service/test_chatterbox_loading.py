"""The strict loader: what is right is loaded in one piece, and whatever is wrong is said before, with file and name."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.fakes.tiny_weights import changed, own_copy, replaced, tiny_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.running_form import ALIGNMENT_BYTES
from tts_service.models.chatterbox.s3gen_network import S3GEN_TOKENIZER, S3GEN_VOCODER, VOICE_ENCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.upstream import upstream
from tts_service.models.chatterbox.weight_problems import PROBLEMS_SHOWN, BadWeightsError

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
EVERY_MODEL = pytest.mark.parametrize("model", ChatterboxModel)


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where this run's tiny weights are."""
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def english(shared: Path, tmp_path: Path) -> Path:
    """Return an English folder of one's own."""
    return own_copy(tiny_folder(shared, ENGLISH), tmp_path / "english")


@pytest.fixture
def multilingual(shared: Path, tmp_path: Path) -> Path:
    """Return a Multilingual folder of one's own."""
    return own_copy(tiny_folder(shared, MULTILINGUAL), tmp_path / "multilingual")


def _problems(folder: Path, model: ChatterboxModel = ENGLISH) -> list[tuple[str, str, str]]:
    with pytest.raises(BadWeightsError) as caught:
        open_weights(folder, model)
    return [(each.file, each.key, each.what) for each in caught.value.problems]


def _load_problems(weights: ModelWeights, module: str) -> list[tuple[str, str]]:
    place = next(each for each in weights.modules if each == module)
    with pytest.raises(BadWeightsError) as caught:
        weights.load(place)
    return [(each.key, each.what.split(" (")[0].split(";")[0]) for each in caught.value.problems]


@EVERY_MODEL
def test_module_holds_what_the_file_holds(shared: Path, model: ChatterboxModel) -> None:
    """Every tensor of every module is the file's, bit for bit, and nothing is left without a value."""
    folder = tiny_folder(shared, model)
    weights = open_weights(folder, model)
    assert NetworkSize.TINY == weights.size
    for place in LAYOUTS[model].modules:
        path = folder / place.file
        stored = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
        module = weights.load(place.module)
        for name, tensor in module.state_dict().items():
            key = f"{place.prefix}{name}"

            assert key in place.optional_keys or torch.equal(stored[key], tensor), key
        assert not module.training
        assert not any(each.requires_grad for each in module.parameters())


def test_module_is_loaded_alone(english: Path) -> None:
    """A module that comes back from disk needs no other: all other files may be gone."""
    weights = open_weights(english, ENGLISH)
    for path in english.iterdir():
        if path.name != LAYOUTS[ENGLISH].module_file(VOICE_ENCODER).file:
            path.unlink()
    first, again = weights.load(VOICE_ENCODER), weights.load(VOICE_ENCODER)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_progress_tells_every_byte_once(english: Path) -> None:
    """What is told rises to exactly the module's bytes."""
    weights = open_weights(english, ENGLISH)
    told: list[tuple[int, int]] = []
    weights.load(S3GEN_VOCODER, progress=lambda done, total: told.append((done, total)))
    done, totals = [each[0] for each in told], {each[1] for each in told}

    assert sorted(set(done)) == done
    assert (weights.byte_count(S3GEN_VOCODER), {weights.byte_count(S3GEN_VOCODER)}) == (done[-1], totals)


def test_master_is_one_piece_and_its_tensors_are_views_of_it(english: Path) -> None:
    """Each tensor lies at an aligned place of one piece of memory, and the module uses it uncopied."""
    module, master = open_weights(english, ENGLISH).load_with_master(T3)
    start, end = master.bytes_.data_ptr(), master.bytes_.data_ptr() + master.bytes_.nbytes
    places = [each.data_ptr() for each in module.parameters()]

    assert all(start <= place < end for place in places)
    assert {0} == {(place - start) % ALIGNMENT_BYTES for place in places}


@pytest.mark.parametrize("model", [ENGLISH, TURBO])
def test_computed_tables_are_upstreams_whether_they_are_in_the_file_or_not(
    shared: Path, model: ChatterboxModel
) -> None:
    """English's file leaves the tokenizer's filters out, Turbo's has them: both load the same."""
    tokenizer = open_weights(tiny_folder(shared, model), model).load(S3GEN_TOKENIZER)
    reference = upstream("models.s3tokenizer").S3Tokenizer("speech_tokenizer_v2_25hz")

    assert torch.equal(reference._mel_filters, tokenizer.get_buffer("_mel_filters"))
    assert torch.equal(reference.window, tokenizer.get_buffer("window"))


def test_all_problems_are_told_at_once(english: Path) -> None:
    """Missing, surplus, mis-shaped and mistyped names in several files come in one error, each with its file."""

    def damage_t3(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["text_head.weight"]
        tensors["tfmr.norm.weight"] = torch.ones(63)
        tensors["surplus.weight"] = torch.ones(2)

    def damage_s3gen(tensors: dict[str, torch.Tensor]) -> None:
        tensors["mel2wav.conv_pre.bias"] = tensors["mel2wav.conv_pre.bias"].half()
        del tensors["flow.encoder_proj.bias"]

    changed(english / "t3_cfg.safetensors", damage_t3)
    changed(english / "s3gen.safetensors", damage_s3gen)
    (english / "ve.safetensors").unlink()

    assert [
        ("ve.safetensors", "", "is missing"),
        ("t3_cfg.safetensors", "tfmr.norm.weight", "has shape (63,), the network wants (64,)"),
        ("t3_cfg.safetensors", "text_head.weight", "is missing"),
        ("t3_cfg.safetensors", "surplus.weight", "is in the file, but in no network of this model"),
        ("s3gen.safetensors", "flow.encoder_proj.bias", "is missing"),
        ("s3gen.safetensors", "mel2wav.conv_pre.bias", "has type float16, the network wants float32"),
    ] == _problems(english)


def test_message_shows_the_first_problems_and_counts_the_others(english: Path) -> None:
    """A file of another model lacks hundreds of names; the message stays readable."""
    changed(english / "s3gen.safetensors", dict.clear)
    with pytest.raises(BadWeightsError) as caught:
        open_weights(english, ENGLISH)
    lines = str(caught.value).splitlines()

    assert PROBLEMS_SHOWN + 2 == len(lines)
    assert f"  s3gen.safetensors: and {len(caught.value.problems) - PROBLEMS_SHOWN} problems more" == lines[-1]


def test_names_that_only_english_may_leave_out_are_missed_elsewhere(multilingual: Path) -> None:
    """Upstream loads Multilingual's S3Gen strictly, and so do we."""
    changed(multilingual / "s3gen.pt", lambda tensors: tensors.__delitem__("tokenizer.window"))

    assert [("s3gen.pt", "tokenizer.window", "is missing")] == _problems(multilingual, MULTILINGUAL)


class _Mischief:
    """Unpickles into a call."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("file", ["ve.pt", "conds.pt"])
def test_pickle_that_runs_code_is_refused_and_not_run(multilingual: Path, tmp_path: Path, file: str) -> None:
    """Archives are read with `weights_only`: a call in them is an error, not a call."""
    (multilingual / file).unlink()
    torch.save({"weight": _Mischief(tmp_path / "touched")}, multilingual / file)

    assert [file] == [each[0] for each in _problems(multilingual, MULTILINGUAL)]
    assert not (tmp_path / "touched").exists()


def test_file_that_the_disk_does_not_give_is_named(english: Path) -> None:
    """A disk's error is told with the file, beside all else."""
    (english / "ve.safetensors").unlink()
    (english / "ve.safetensors").mkdir()

    assert [("ve.safetensors", "", "cannot be read (Is a directory)")] == _problems(english)


def test_values_that_are_not_finite_are_found_at_load_and_all_named(english: Path) -> None:
    """NaN and infinity in a module's file are its problem alone: other modules of the same file load."""

    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["mel2wav.conv_pre.bias"][3] = float("nan")
        tensors["mel2wav.ups.0.bias"][0] = -float("inf")

    changed(english / "s3gen.safetensors", poison)
    weights = open_weights(english, ENGLISH)
    what = "holds NaN or infinite values"

    assert [("mel2wav.conv_pre.bias", what), ("mel2wav.ups.0.bias", what)] == _load_problems(weights, S3GEN_VOCODER)
    assert weights.load(S3GEN_TOKENIZER)


def test_file_that_became_shorter_after_the_check_is_told_at_load(english: Path) -> None:
    """A return from disk meets whatever happened to the file meanwhile."""
    weights = open_weights(english, ENGLISH)
    path = english / "ve.safetensors"
    replaced(path, path.read_bytes()[:-100])

    assert [("", "has become shorter since it was checked")] == _load_problems(weights, VOICE_ENCODER)


def test_file_that_is_gone_after_the_check_is_told_at_load(english: Path) -> None:
    """Nor is a file that was removed a crash."""
    weights = open_weights(english, ENGLISH)
    (english / "ve.safetensors").unlink()

    assert [("", "is missing")] == _load_problems(weights, VOICE_ENCODER)


def test_tokenizer_of_another_model_is_refused(shared: Path, english: Path, multilingual: Path) -> None:
    """The number of tokens is checked against the network's."""
    replaced(multilingual / "grapheme_mtl_merged_expanded_v1.json", (english / "tokenizer.json").read_bytes())
    turbo = own_copy(tiny_folder(shared, TURBO), english.parent / "turbo")
    added = {f"[sound {number}]": 50_257 + number for number in range(25)}
    replaced(turbo / "added_tokens.json", json.dumps(added).encode())
    config = json.loads((turbo / "tokenizer_config.json").read_bytes())
    del config["added_tokens_decoder"]
    replaced(turbo / "tokenizer_config.json", json.dumps(config).encode())
    ((_, _, of_multilingual),) = _problems(multilingual, MULTILINGUAL)
    ((_, _, of_turbo),) = _problems(turbo, TURBO)

    assert "has 704 tokens, the network 2454: it is another model's tokenizer" == of_multilingual
    assert "has 50282 tokens, the network 50276: it is another model's tokenizer" == of_turbo


def test_tokenizer_whose_edges_are_elsewhere_is_refused(english: Path) -> None:
    """T3 has the ids of start and stop written into it."""
    path = english / "tokenizer.json"
    text = path.read_text().replace('"[START]"', '"[SAID]"').replace('"[STOP]"', '"[START]"')
    replaced(path, text.encode())

    assert [
        ("tokenizer.json", "[START]", "has id 0, the network wants id 255"),
        ("tokenizer.json", "[STOP]", "is missing, the network wants id 0"),
    ] == _problems(english)


@pytest.mark.parametrize("data", [b"", b"{}", b"no tokenizer"])
def test_tokenizer_that_cannot_be_read_is_refused(english: Path, data: bytes) -> None:
    """Whatever its reader says is told with the file."""
    replaced(english / "tokenizer.json", data)
    ((file, _, what),) = _problems(english)

    assert ("tokenizer.json", True) == (file, what.startswith("cannot be read as a tokenizer ("))


def test_folder_with_nothing_in_it_lacks_every_file_that_is_needed(tmp_path: Path) -> None:
    """The first thing that an operator gets wrong is the path."""
    expected = [(file, "", "is missing") for file in LAYOUTS[TURBO].required_files]

    assert expected == _problems(tmp_path, TURBO)


def test_weights_are_not_read_before_they_are_asked_for(english: Path) -> None:
    """Checking reads headers: a file whose data is a hole of nothing passes, and costs nothing."""
    path = english / "t3_cfg.safetensors"
    data = path.read_bytes()
    header_bytes = 8 + int.from_bytes(data[:8], "little")
    replaced(path, data[:header_bytes])
    os.truncate(path, len(data))

    assert open_weights(english, ENGLISH).byte_count(T3) > 6 << 20
