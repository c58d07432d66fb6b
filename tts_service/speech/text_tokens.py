"""A segment's text as T3 takes it: normalised as upstream does and tokenised by its own, each model its own way.

English and Multilingual get start and stop tokens around the text, Multilingual its language's token before it.
Turbo's tokenizer knows paralinguistic tags, which pass through as they are; the others would read them out, so they
refuse them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, assert_never

import torch

from tts_service.errors import CallerError, Reason, ServiceError, bad_config
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.languages import NAMES
from tts_service.models.chatterbox.vocabulary import TURBO_TAGS
from tts_service.speech.language_tags import spoken_language

_TAG: Final = re.compile("|".join(map(re.escape, TURBO_TAGS)), re.IGNORECASE)

_REPLACED: Final = (
    ("...", ", "),
    ("…", ", "),
    (":", ","),
    (" - ", ", "),
    (";", ", "),
    ("—", "-"),
    ("–", "-"),  # noqa: RUF001  # An en dash is what is meant.
    (" ,", ","),
    ("“", '"'),
    ("”", '"'),
    ("‘", "'"),  # noqa: RUF001  # These quotation marks are what is meant.
    ("’", "'"),  # noqa: RUF001  # The same.
)
"""Punctuation that the models have not learned, and what stands for it, in this order: upstream's `punc_norm`."""

_KEPT_BY_TURBO: Final = ("...", " - ", ";")
_ENDS: Final = (".", "!", "?", "-", ",")
_MULTILINGUAL_ENDS: Final = (*_ENDS, "、", "，", "。", "？", "！")  # noqa: RUF001  # Full width is what is meant.


@dataclass(frozen=True, slots=True, kw_only=True)
class TextVocabulary:
    """The numbers of T3's `hp` that its text must keep to; `edges` are the start and stop token, if the model has any.

    `max_tokens` counts the edges.
    """

    size: int
    max_tokens: int
    edges: tuple[int, int] | None


def text_vocabulary(hyper_parameters: Any, model: ChatterboxModel) -> TextVocabulary:
    """Return what T3's hyper-parameters say of its text."""
    edges = (hyper_parameters.start_text_token, hyper_parameters.stop_text_token)
    return TextVocabulary(
        size=hyper_parameters.text_tokens_dict_size,
        max_tokens=hyper_parameters.max_text_tokens,
        edges=None if model is ChatterboxModel.TURBO else edges,
    )


def normalised(text: str, model: ChatterboxModel) -> str:
    """Return the text as upstream's `punc_norm` of the model returns it. The text must hold something to say.

    For the empty text, upstream has a sentence of its own.
    """
    assert text, "there is nothing to say"
    spaced = " ".join((text[0].upper() + text[1:] if text[0].islower() else text).split())
    for written, spoken in _REPLACED:
        if model is not ChatterboxModel.TURBO or written not in _KEPT_BY_TURBO:
            spaced = spaced.replace(written, spoken)
    ended = spaced.rstrip(" ")
    ends = _MULTILINGUAL_ENDS if model is ChatterboxModel.MULTILINGUAL else _ENDS
    return ended if ended.endswith(ends) else f"{ended}."


def languages(model: ChatterboxModel) -> tuple[str, ...]:
    """Return the ids of the languages that a model speaks."""
    if model is ChatterboxModel.MULTILINGUAL:
        return tuple(NAMES)
    return ("en",)


def language_id(tag: str, model: ChatterboxModel) -> str:
    """Return upstream's id for a BCP 47 tag, such as "pt" for "pt-BR". BAD_LANGUAGE if the model does not speak it."""
    known = languages(model)
    found = spoken_language(tag, known)
    if found is None:
        description = f"{tag!r} is not spoken by the {model} model; it speaks {', '.join(sorted(known))}"
        raise bad_config("language", description, Reason.BAD_LANGUAGE)
    return found


def check_tags(text: str, model: ChatterboxModel) -> None:
    """Raise CallerError if the text has one of Turbo's tags and the model is another, which would read it out."""
    found = None if model is ChatterboxModel.TURBO else _TAG.search(text)
    if found:
        raise bad_config(
            "text", f"{found[0]} is a tag of the turbo model, and the {model} model has none: leave it out"
        )


def text_tokens(
    text: str, *, model: ChatterboxModel, tokenizer: Any, language: str, vocabulary: TextVocabulary
) -> torch.Tensor:
    """Return the tokens (tokens,), int64, of a segment's text; `language` is a BCP 47 tag.

    `tokenizer` is upstream's for the model: `EnTokenizer`, `MTLTokenizer`, or transformers' for Turbo. Raises
    CallerError for a language or tag that the model does not have, and for text that is too long for its positions.
    """
    language = language_id(language, model)
    check_tags(text, model)
    ids = _ids(normalised(text, model), model, tokenizer, language)
    if vocabulary.edges is not None:
        ids = [vocabulary.edges[0], *ids, vocabulary.edges[1]]
    if len(ids) > vocabulary.max_tokens:
        message = f"a segment of {len(ids)} text tokens, of which the {model} model takes {vocabulary.max_tokens}"
        raise CallerError(Reason.TEXT_TOO_LONG, message)
    _check_ids(ids, vocabulary.size)
    return torch.tensor(ids, dtype=torch.int64)


def _ids(text: str, model: ChatterboxModel, tokenizer: Any, language: str) -> list[int]:
    match model:
        case ChatterboxModel.ENGLISH:
            ids: list[int] = tokenizer.encode(text)
        case ChatterboxModel.MULTILINGUAL:
            ids = tokenizer.encode(text, language_id=language)
        case ChatterboxModel.TURBO:
            ids = tokenizer(text).input_ids
        case _:
            assert_never(model)
    return ids


def _check_ids(ids: Iterable[int], size: int) -> None:
    """Hold back what the embedding has no row for: on a GPU, looking it up would end the process."""
    if not all(0 <= each < size for each in ids):
        raise ServiceError(Reason.ENGINE_FAULT, f"the tokenizer is another model's: it knows more than {size} tokens")
