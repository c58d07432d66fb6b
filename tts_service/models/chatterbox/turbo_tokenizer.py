"""Turbo's tokenizer, GPT-2's with added tokens, from its files alone: transformers takes 13 s of a slow host to import.

It gives the ids that upstream's, transformers' `AutoTokenizer`, gives. Whatever a folder says that could change them
and is not known here leaves the folder to transformers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from tts_service.models.chatterbox.upstream import quiet

_CONFIG: Final = "tokenizer_config.json"
_CLASSES: Final = frozenset({"GPT2Tokenizer", "GPT2TokenizerFast"})
_END_OF_TEXT: Final = "<|endoftext|>"

_NAMED: Final = {"bos_token": _END_OF_TEXT, "eos_token": _END_OF_TEXT, "unk_token": _END_OF_TEXT, "pad_token": None}
"""Tokens with a name, and what they are where the folder does not say (transformers' `GPT2Tokenizer`)."""

_HARMLESS: Final = frozenset(
    {
        *("added_tokens_decoder", "add_prefix_space", "tokenizer_class", *_NAMED),
        *("clean_up_tokenization_spaces", "errors", "max_len", "model_max_length", "name_or_path", "padding_side"),
        *("special_tokens_map_file", "truncation_side", "chat_template", "backend", "is_local"),
    }
)
"""What is read here, and what changes no id of a text that is neither cut nor padded."""

_EMPTY: Final[tuple[object, ...]] = (None, False, [], {}, "")
"""Anything may be set to nothing."""

_OTHER_FILES: Final = ("tokenizer.json", "config.json", "tekken.json", "tokenizer.model")
"""What transformers would read first."""


@dataclass(frozen=True, slots=True)
class TextIds:
    """The ids of a text, under the name that transformers has for them."""

    input_ids: list[int]


class TurboTokenizer:
    """From text to ids; called as transformers' is, with one text and nothing else."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.backend_tokenizer = tokenizer

    def __repr__(self) -> str:
        return f"<TurboTokenizer {len(self)} tokens>"

    def __len__(self) -> int:
        """Return how many tokens there are, added ones included."""
        return int(self.backend_tokenizer.get_vocab_size())

    def __call__(self, text: str) -> TextIds:
        """Return the ids of a text, whole."""
        return TextIds(self.backend_tokenizer.encode(text).ids)


def turbo_tokenizer(folder: Path) -> Any:
    """Return what a folder's text is made to ids with; no code of the folder's is run, and nobody is asked for more.

    Raises whatever its files' readers raise.
    """
    config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    tokens = None if any((folder / file).exists() for file in _OTHER_FILES) else _added_tokens(config)
    if tokens is None:
        return transformers_tokenizer(folder)
    model = BPE.from_file(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        continuing_subword_prefix="",
        end_of_word_suffix="",
        fuse_unk=False,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=bool(config.get("add_prefix_space")))
    tokenizer.add_tokens(tokens)
    return TurboTokenizer(tokenizer)


def transformers_tokenizer(folder: Path) -> Any:
    """Return transformers' own tokenizer of a folder, as upstream has it."""
    with quiet():
        from transformers import AutoTokenizer  # noqa: PLC0415  # 13 s, which hardly any folder needs.

        tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _added_tokens(config: Any) -> list[AddedToken] | None:
    """Return the tokens beside the vocabulary, by their ids; None if the configuration says more than is known here."""
    if not isinstance(config, Mapping) or config.get("tokenizer_class") not in _CLASSES:
        return None
    if any(key not in _HARMLESS and value not in _EMPTY for key, value in config.items()):
        return None
    decoder = config.get("added_tokens_decoder")
    if not isinstance(decoder, Mapping) or not all(isinstance(each, Mapping) for each in decoder.values()):
        return None
    named = {_content(config.get(name, default)) for name, default in _NAMED.items()} - {None}
    added = sorted((int(number), dict(flags)) for number, flags in decoder.items())
    if not named <= {flags.get("content") for _, flags in added}:
        return None
    return [_added_token(flags, is_named=flags["content"] in named) for _, flags in added]


def _added_token(flags: dict[str, Any], *, is_named: bool) -> AddedToken:
    token = AddedToken(**flags)
    token.special = token.special or is_named
    return token


def _content(token: Any) -> Any:
    """Return the text of a named token, which may be written with its flags."""
    return token.get("content") if isinstance(token, Mapping) else token
