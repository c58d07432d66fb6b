"""Whether a folder's tokenizer is the one that its T3 was made for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import ModelLayout
from tts_service.models.chatterbox.turbo_tokenizer import turbo_tokenizer
from tts_service.models.chatterbox.weight_problems import WeightProblem

EDGE_TOKENS: Final = {"[START]": 255, "[STOP]": 0}
"""Upstream's `T3Config` has these ids written into it, and its tokenizers have these names."""


def tokenizer_problems(folder: Path, layout: ModelLayout) -> list[WeightProblem]:
    """Return what is wrong with a tokenizer's files."""
    missing = [
        WeightProblem(file=file, what="is missing") for file in layout.tokenizer_files if not (folder / file).is_file()
    ]
    return missing or list(_content_problems(folder, layout))


def _content_problems(folder: Path, layout: ModelLayout) -> Iterator[WeightProblem]:
    file = layout.tokenizer_files[0]
    try:
        if layout.model is ChatterboxModel.TURBO:
            size, vocabulary = len(turbo_tokenizer(folder)), {}
        else:
            tokenizer = Tokenizer.from_file(str(folder / file))
            size, vocabulary = tokenizer.get_vocab_size(), tokenizer.get_vocab()
    except Exception as error:  # noqa: BLE001 - the reader, in another language, raises nothing narrower.
        yield WeightProblem(file=file, what=f"cannot be read as a tokenizer ({error})")
        return
    if size != layout.vocabulary:
        yield WeightProblem(
            file=file, what=f"has {size} tokens, the network {layout.vocabulary}: it is another model's tokenizer"
        )
    if layout.model is not ChatterboxModel.TURBO:
        yield from _edge_problems(file, vocabulary)


def _edge_problems(file: str, vocabulary: Mapping[str, int]) -> Iterator[WeightProblem]:
    for token, wanted in EDGE_TOKENS.items():
        found = vocabulary.get(token)
        if found != wanted:
            has = "is missing" if found is None else f"has id {found}"
            yield WeightProblem(file=file, key=token, what=f"{has}, the network wants id {wanted}")
