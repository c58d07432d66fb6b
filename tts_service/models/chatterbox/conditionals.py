"""The voice that a model's folder brings with it: upstream's `conds.pt`, read without running anything in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.models.chatterbox.weight_file import UnreadableFileError, archive_content, file_problem
from tts_service.models.chatterbox.weight_problems import BadWeightsError, WeightProblem, refuse_problems

_FLOAT_COUNTS: Final = {"t3.speaker_emb": 256, "gen.embedding": 192}
_MOST_TOKENS: Final = {"t3.cond_prompt_speech_tokens": 375, "gen.prompt_token": 250}
"""Of 15 s of a reference for Turbo's T3 (6 s for the others) and 10 s for every flow; upstream makes no more."""

_FRAMES_PER_TOKEN: Final = 2
_MEL: Final = "gen.prompt_feat"
_MEL_BANDS: Final = 80
_MEL_DIMENSIONS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditionals:
    """A voice as upstream keeps it, checked, on the CPU.

    `t3`: `speaker_emb` (1, 256), `cond_prompt_speech_tokens` (1, tokens). `gen`: `prompt_token` (1, tokens),
    `prompt_feat` (1, frames, 80), `embedding` (1, 192). Both may hold more, as upstream writes it.
    """

    t3: Mapping[str, Any]
    gen: Mapping[str, Any]


def read_conditionals(path: Path) -> Conditionals:
    """Return the voice in a file. Raises BadWeightsError: it is missing, no such file, or holds impossible values."""
    content = _content(path)
    if isinstance(content, WeightProblem):
        raise BadWeightsError(path.parent, [content])
    refuse_problems(path.parent, _problems(path.name, content))
    return Conditionals(t3=content["t3"], gen=content["gen"])


def conditionals_problems(path: Path) -> list[WeightProblem]:
    """Return what is wrong with a voice's file; one that is not there is no problem."""
    if not path.exists():
        return []
    content = _content(path)
    return [content] if isinstance(content, WeightProblem) else _problems(path.name, content)


def _content(path: Path) -> dict[str, Any] | WeightProblem:
    try:
        content = archive_content(path, device="cpu")
    except (OSError, UnreadableFileError) as error:
        return file_problem(path, error)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("t3", "gen")):
        return WeightProblem(file=path.name, what='is no voice of upstream\'s (it has no "t3" and "gen")')
    return content


def _problems(file: str, content: Mapping[str, Any]) -> list[WeightProblem]:
    values = {f"{part}.{name}": value for part in ("t3", "gen") for name, value in content[part].items()}
    found = []
    for key in (*_FLOAT_COUNTS, *_MOST_TOKENS, _MEL):
        value = values.get(key)
        what = _difference(key, value) if isinstance(value, torch.Tensor) else "is missing"
        if what:
            found.append(WeightProblem(file=file, key=key, what=what))
    return found or _length_problems(file, tokens=values["gen.prompt_token"], mel=values[_MEL])


def _length_problems(file: str, *, tokens: torch.Tensor, mel: torch.Tensor) -> list[WeightProblem]:
    if mel.shape[1] >= _FRAMES_PER_TOKEN * tokens.numel():
        return []
    what = f"has {mel.shape[1]} frames, fewer than two for each of its {tokens.numel()} tokens"
    return [WeightProblem(file=file, key=_MEL, what=what)]


def _difference(key: str, value: torch.Tensor) -> str:
    if key in _MOST_TOKENS:
        return _token_difference(value, _MOST_TOKENS[key])
    if not value.dtype.is_floating_point or not bool(torch.isfinite(value).all()):
        return "holds NaN, infinite values or no floating-point ones"
    if key == _MEL:
        is_mel = value.ndim == _MEL_DIMENSIONS and value.shape[0] == 1 and value.shape[2] == _MEL_BANDS
        return "" if is_mel else f"has shape {tuple(value.shape)}, a mel has (1, frames, {_MEL_BANDS})"
    count = _FLOAT_COUNTS[key]
    return "" if value.numel() == count else f"has {value.numel()} values, the network wants {count}"


def _token_difference(value: torch.Tensor, most: int) -> str:
    if value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool:
        return f"has type {value.dtype}, speech tokens are whole numbers"
    if value.numel() == 0 or int(value.min()) < 0 or int(value.max()) >= CODEBOOK_TOKENS:
        return f"is empty, or has speech tokens beyond {CODEBOOK_TOKENS - 1}"
    return f"has {value.numel()} speech tokens, the network takes {most}" if value.numel() > most else ""
