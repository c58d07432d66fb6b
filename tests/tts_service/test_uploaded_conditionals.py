"""Upstream's `conds.pt` from anybody: taken over as it is, or refused, and nothing in it is run."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fakes.damaged_archives import damaged_archives
from tests.fakes.upstream_voices import saved, upstream_content
from tts_service.errors import CallerError, Reason
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.uploaded_conditionals import read_uploaded_conditionals
from tts_service.speech.voice_conditionals import VoiceConditionals

PROMPT_TOKENS = 150


def read(data: bytes) -> VoiceConditionals:
    """Read for a model whose T3 takes 150 tokens."""
    return read_uploaded_conditionals(data, max_prompt_tokens=PROMPT_TOKENS)


def refusal(data: bytes) -> str:
    """Return what the caller of bad bytes is told."""
    with pytest.raises(CallerError) as caught:
        read(data)
    assert Reason.BAD_CONFIG is caught.value.reason
    assert ["content"] == [each.field for each in caught.value.violations]
    return caught.value.message


def test_upstreams_voice_is_taken_over() -> None:
    """Every number is upstream's, as plain tensors of our own."""
    given = upstream_content()
    voice = read(saved(given))

    assert torch.equal(given["t3"]["speaker_emb"][0], voice.tokens.speaker)
    assert torch.equal(given["t3"]["cond_prompt_speech_tokens"][0], voice.tokens.tokens)
    assert torch.equal(given["gen"]["prompt_feat"][0], voice.prompt.mel)
    assert {torch.int64, torch.float32} == {tensor.dtype for tensor in voice.tensors().values()}


def test_half_precision_is_widened() -> None:
    """A voice saved in half precision is spoken with in single."""
    given = upstream_content()
    given["gen"]["prompt_feat"] = given["gen"]["prompt_feat"].half()

    assert torch.float32 is read(saved(given)).prompt.mel.dtype


def test_voice_of_turbo_is_not_for_english() -> None:
    """A prompt that is longer than this model's was made for another one."""
    assert "made for another model" in refusal(saved(upstream_content(ChatterboxModel.TURBO)))


class Malice:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        """Say how to make it again."""
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    """A pickle that would do something is refused, and has done nothing."""
    victim = tmp_path / "was here"
    given = upstream_content()
    given["t3"]["extra"] = Malice(victim)

    assert "is damaged, or holds more than tensors" in refusal(saved(given))
    assert "truncated, or not" in refusal(pickle.dumps(Malice(victim)))
    assert not victim.exists()


def _packed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(64 << 20))
    return file.getvalue()


def _with(part: str, name: str, value: object) -> bytes:
    given = upstream_content()
    given[part][name] = value
    return saved(given)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated"),
        (b"RIFF", "truncated"),
        (saved(upstream_content())[:-100], "truncated"),
        (_packed(), "unfolds to"),
        (saved([1, 2]), "no voice"),
        (saved({"t3": {}, "gen": {}}), "is missing"),
        (_with("gen", "prompt_feat", torch.full((1, 100, 80), float("nan"))), "NaN"),
        (_with("gen", "prompt_feat", torch.zeros(1, 10, 80)), "frames"),
        (_with("gen", "prompt_feat", torch.zeros(1).expand(1, 10**9, 80)), "not a plain array"),
        (_with("gen", "prompt_feat", torch.zeros(1, 100, 80).to_sparse()), "not a plain array"),
        (_with("gen", "prompt_feat", torch.zeros(1, 100, 80, device="meta")), "not a plain array"),
        (_with("gen", "prompt_token", torch.full((1, 50), 6561)), "beyond 6560"),
        (_with("gen", "prompt_token", torch.full((1, 50), float("nan"))), "whole numbers"),
        (_with("gen", "prompt_token", "50 tokens"), "is missing"),
        (_with("t3", "speaker_emb", torch.zeros(1, 255)), "255 values"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_file_is_refused_with_a_reason(data: bytes, words: str) -> None:
    """Whatever is wrong is the caller's fault and is said."""
    assert words in refusal(data)


def test_damaged_description_is_taken_or_refused() -> None:
    """Whatever the unpickler stumbles over is the caller's, never a fault of the service."""
    reasons = []
    for data in damaged_archives(saved(upstream_content()), count=300):
        try:
            read(data)
        except CallerError as error:
            reasons.append(error.reason)

    assert len(reasons) > 150
    assert {Reason.BAD_CONFIG} == set(reasons)
