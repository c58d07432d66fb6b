"""The voice in a model's folder: read as upstream wrote it, and refused when it is something else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import conditionals_problems, read_conditionals
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.synthetic_modules import SyntheticModel
from tts_service.models.chatterbox.weight_problems import BadWeightsError

Content = dict[str, Any]


@pytest.fixture
def content() -> Content:
    """Return a good voice."""
    return SyntheticModel(model=ChatterboxModel.ENGLISH, size=NetworkSize.TINY, seed=3).conditionals()


def test_voice_is_read_as_it_was_written(tmp_path: Path, content: Content) -> None:
    """Every tensor comes back, under upstream's names."""
    torch.save(content, tmp_path / "conds.pt")
    voice = read_conditionals(tmp_path / "conds.pt")

    assert torch.equal(content["t3"]["speaker_emb"], voice.t3["speaker_emb"])
    assert torch.equal(content["gen"]["prompt_feat"], voice.gen["prompt_feat"])


def test_voice_of_turbos_lengths_is_good(tmp_path: Path, content: Content) -> None:
    """Turbo's T3 is told 15 s of a voice, more than the others, and its flow 10 s; an odd frame of mel does no harm."""
    content["t3"]["cond_prompt_speech_tokens"] = torch.full((1, 375), 6560)
    content["gen"] |= {"prompt_token": torch.zeros(1, 250, dtype=torch.int32), "prompt_feat": torch.zeros(1, 501, 80)}
    torch.save(content, tmp_path / "conds.pt")

    assert [] == conditionals_problems(tmp_path / "conds.pt")


def test_voice_that_is_not_there_is_no_problem_of_the_folder(tmp_path: Path) -> None:
    """A folder may bring no voice; whoever asks for it gets an error."""
    with pytest.raises(BadWeightsError, match=r"conds\.pt: is missing"):
        read_conditionals(tmp_path / "conds.pt")

    assert [] == conditionals_problems(tmp_path / "conds.pt")


def _without(part: str, name: str) -> Callable[[Content], Any]:
    return lambda content: content[part].pop(name)


def _with(part: str, name: str, value: torch.Tensor) -> Callable[[Content], Any]:
    return lambda content: content[part].update({name: value})


@pytest.mark.parametrize(
    ("change", "key", "what"),
    [
        (_without("t3", "speaker_emb"), "t3.speaker_emb", "is missing"),
        (_with("t3", "speaker_emb", torch.zeros(1, 255)), "t3.speaker_emb", "has 255 values, the network wants 256"),
        (_with("gen", "embedding", torch.full((1, 192), float("nan"))), "gen.embedding", "holds NaN"),
        (_with("gen", "prompt_feat", torch.zeros(1, 9, 81)), "gen.prompt_feat", "has shape (1, 9, 81)"),
        (_with("gen", "prompt_feat", torch.zeros(9, 80)), "gen.prompt_feat", "has shape (9, 80)"),
        (_with("gen", "prompt_token", torch.tensor([[6561]])), "gen.prompt_token", "has speech tokens beyond 6560"),
        (_with("gen", "prompt_token", torch.tensor([[-1]])), "gen.prompt_token", "has speech tokens beyond 6560"),
        (
            _with("t3", "cond_prompt_speech_tokens", torch.zeros(1, 0).long()),
            "t3.cond_prompt_speech_tokens",
            "is empty",
        ),
        (_with("gen", "prompt_token", torch.full((1, 9), float("nan"))), "gen.prompt_token", "are whole numbers"),
        (_with("gen", "prompt_token", torch.zeros(1, 251).long()), "gen.prompt_token", "has 251 speech tokens"),
        (
            _with("t3", "cond_prompt_speech_tokens", torch.zeros(1, 376).long()),
            "t3.cond_prompt_speech_tokens",
            "has 376 speech tokens, the network takes 375",
        ),
        (_with("gen", "prompt_feat", torch.zeros(1, 99, 80)), "gen.prompt_feat", "has 99 frames, fewer than two"),
        (_with("gen", "embedding", torch.zeros(1, 192).long()), "gen.embedding", "no floating-point"),
    ],
)
def test_impossible_value_is_named(
    tmp_path: Path, content: Content, change: Callable[[Content], Any], key: str, what: str
) -> None:
    """Missing, mis-sized, not finite, outside the codebook: the value at fault is named."""
    change(content)
    torch.save(content, tmp_path / "conds.pt")
    (problem,) = conditionals_problems(tmp_path / "conds.pt")

    assert (key, True) == (problem.key, what in problem.what), problem
    with pytest.raises(BadWeightsError):
        read_conditionals(tmp_path / "conds.pt")


@pytest.mark.parametrize("other", [[1], {"t3": {}}, {"t3": [], "gen": {}}])
def test_file_that_is_no_voice_is_refused(tmp_path: Path, other: object) -> None:
    """An archive of something else is called that."""
    torch.save(other, tmp_path / "conds.pt")
    (problem,) = conditionals_problems(tmp_path / "conds.pt")

    assert "is no voice of upstream's" in problem.what


def test_file_that_is_torn_is_refused(tmp_path: Path) -> None:
    """A torn file is a problem with its name, not a crash."""
    (tmp_path / "conds.pt").write_bytes(b"PK\x03\x04")

    assert ["conds.pt"] == [each.file for each in conditionals_problems(tmp_path / "conds.pt")]
