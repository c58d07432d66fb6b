"""Tokenizers of ours in the forms and sizes that upstream's classes want: letters, and pairs of the frequent ones.

What they know is beside the point; that they load, are of the right size and make tokens of any text is the point.
"""

import itertools
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.languages import NAMES
from tts_service.models.chatterbox.layout import CANGJIE_FILE, LAYOUTS
from tts_service.models.chatterbox.vocabulary import TURBO_TAGS

START_ID: Final = 255
LETTERS_BY_FREQUENCY: Final = "etaoinshrdlcumwfgypbvkjxqz"

_SPECIAL: Final = ("[STOP]", "[UNK]", "[SPACE]", "[PAD]", "[SEP]", "[CLS]", "[MASK]")
_ALPHABETS: Final = (
    (0x00A0, 0x0180),  # Western and central Europe.
    (0x0300, 0x0370),  # Accents, which normalisation splits off.
    (0x0370, 0x0400),  # Greek.
    (0x0400, 0x0500),  # Cyrillic.
    (0x0590, 0x0600),  # Hebrew.
    (0x0600, 0x0700),  # Arabic.
    (0x0900, 0x0980),  # Devanagari.
    (0x1100, 0x1200),  # Korean, split into its parts.
    (0x2010, 0x2040),  # Punctuation.
    (0x3000, 0x3100),  # Japanese.
)

_END_OF_TEXT: Final = "<|endoftext|>"

_TURBO_ADDED: Final = 19

_CANGJIE_LINES: Final = ("日\ta", "月\tb", "金\tc", "木\td", "水\te", "火\tf", "土\tg", "你\tonf", "好\tvnd")


def write_tokenizer(folder: Path, model: ChatterboxModel) -> None:
    """Write a model's tokenizer files into a folder. Raises OSError."""
    layout = LAYOUTS[model]
    match model:
        case ChatterboxModel.ENGLISH:
            _grapheme_tokenizer((), (), layout.vocabulary).save(str(folder / layout.tokenizer_files[0]))
        case ChatterboxModel.MULTILINGUAL:
            tokenizer = _grapheme_tokenizer(_multilingual_tags(), _ALPHABETS, layout.vocabulary)
            tokenizer.save(str(folder / layout.tokenizer_files[0]))
            _write_json(folder / CANGJIE_FILE, list(_CANGJIE_LINES))
        case ChatterboxModel.TURBO:
            _write_turbo(folder, layout.vocabulary)


def _multilingual_tags() -> tuple[str, ...]:
    """Return the tokens for languages, and for the letters of Chinese codes."""
    return (*(f"[{code}]" for code in NAMES), *(f"[cj_{letter}]" for letter in string.ascii_lowercase), "[cj_.]")


def _grapheme_tokenizer(tags: tuple[str, ...], alphabets: tuple[tuple[int, int], ...], size: int) -> Tokenizer:
    """Return a tokenizer of exactly `size` tokens, with upstream's special ones at the ids that T3 knows."""
    special = (*_SPECIAL, *tags)
    characters = [chr(code) for code in range(0x21, 0x7F)]
    characters += [chr(code) for first, end in alphabets for code in range(first, end)]
    pairs = list(itertools.islice(_pairs(), size - len(special) - len(characters) - 1))
    tokens = [*special, *characters, *("".join(pair) for pair in pairs)]
    tokens.insert(START_ID, "[START]")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    assert len(vocabulary) == size
    tokenizer = Tokenizer(BPE(vocabulary, pairs, unk_token=_SPECIAL[1]))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (*special, "[START]")])
    return tokenizer


def _pairs() -> Iterator[tuple[str, str]]:
    """Yield pairs of letters, then letters after pairs, the frequent ones first."""
    letters = LETTERS_BY_FREQUENCY
    yield from itertools.product(letters, letters)
    yield from ((a + b, c) for a, b, c in itertools.product(letters, letters, letters))
    yield from ((a + b, c + d) for a, b, c, d in itertools.product(letters, letters, letters, letters))


def _write_turbo(folder: Path, size: int) -> None:
    """Write GPT-2's form: the 256 bytes, merges, one special token, and the added ones at the end."""
    byte_characters = _byte_characters()
    pairs = list(itertools.islice(_pairs(), size - _TURBO_ADDED - len(byte_characters) - 1))
    tokens = [*byte_characters, *("".join(pair) for pair in pairs), _END_OF_TEXT]
    tags = [*TURBO_TAGS, *(f"[sound {number}]" for number in range(_TURBO_ADDED - len(TURBO_TAGS)))]
    added = {tag: len(tokens) + number for number, tag in enumerate(tags)}
    assert len(tokens) + len(added) == size
    _write_json(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in pairs)])
    (folder / "merges.txt").write_text(f"{merges}\n", encoding="utf-8")
    _write_json(folder / "added_tokens.json", added)
    special = dict.fromkeys(("unk_token", "bos_token", "eos_token"), _END_OF_TEXT)
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(folder / "tokenizer_config.json", _turbo_config(added, len(tokens) - 1, special))


def _turbo_config(added: dict[str, int], end_of_text: int, special: dict[str, str]) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    decoder = {str(end_of_text): {"content": _END_OF_TEXT, "special": True, **flags}}
    decoder |= {str(number): {"content": tag, "special": False, **flags} for tag, number in added.items()}
    return {
        "added_tokens_decoder": decoder,
        "add_prefix_space": False,
        "model_max_length": 1024,
        "tokenizer_class": "GPT2Tokenizer",
        **special,
    }


def _byte_characters() -> list[str]:
    """Return the characters that stand for the 256 bytes in GPT-2's form: printable ones for themselves."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(0x100)
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")
