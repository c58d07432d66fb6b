"""Turbo's tokenizer without transformers gives the ids that transformers' gives, or leaves the folder to it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_weights import own_copy, replaced, tiny_folder
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.turbo_tokenizer import TurboTokenizer, transformers_tokenizer, turbo_tokenizer
from tts_service.models.chatterbox.vocabulary import TURBO_TAGS

CONFIG = "tokenizer_config.json"
TEXTS = (
    "",
    " ",
    "Hello there, nine little lights.",
    "No [laugh] way! [sigh][chuckle] x[cough]y [LAUGH] [laugh",
    "  two  spaces\tand\na line \r\n and a no-break\u00a0space  ",
    "It's they're we'll I'm he'd you've; 1234567890 3.14 10,000",
    "Größe naïve Ελλάδα Привет שלום مرحبا नमस्ते 你好 こんにちは 안녕",
    "e\u0301 and é, ﬁ, Å, \u200b, \ufeff, \U0001f600\U0001f469\u200d\U0001f680",
    "<|endoftext|> in the middle <|endoftext|>of it",
    "[sound 0] [sound 1]  [sound 9] [clear throat]s",
)
"""Spaces, contractions, scripts, accents apart and together, and added tokens beside whatever may touch them."""

Folder = Callable[..., Path]


@pytest.fixture
def changed_folder(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Folder:
    """Return what changes some of the tokenizer's configuration in a Turbo folder of one's own, and gives that."""
    folder = own_copy(tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.TURBO), tmp_path / "turbo")

    def changed(**changes: Any) -> Path:
        config = json.loads((folder / CONFIG).read_bytes()) | changes
        replaced(folder / CONFIG, json.dumps(config).encode())
        return folder

    return changed


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[TurboTokenizer, Any]:
    """Return ours and transformers' of the same folder."""
    folder = tiny_folder(tmp_path_factory.getbasetemp(), ChatterboxModel.TURBO)
    return turbo_tokenizer(folder), transformers_tokenizer(folder)


def _backend(tokenizer: Any) -> dict[str, Any]:
    """Return all that makes ids of a text, and whether anything is put around them."""
    content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    around = content.pop("post_processor")
    content["around"] = [] if around is None else [part for part in around["single"] if "SpecialToken" in part]
    return {name: value for name, value in content.items() if name != "decoder"}


def test_both_are_made_of_the_same_parts(both: tuple[TurboTokenizer, Any]) -> None:
    """Vocabulary, merges, added tokens with their flags, what cuts words, and nothing that cuts, pads or adds."""
    ours, theirs = both

    assert isinstance(ours, TurboTokenizer)
    assert not isinstance(theirs, TurboTokenizer)
    assert _backend(theirs) == _backend(ours)
    assert len(theirs) == len(ours)


@pytest.mark.parametrize("text", TEXTS)
def test_both_give_the_same_ids(both: tuple[TurboTokenizer, Any], text: str) -> None:
    """Whatever the text holds."""
    ours, theirs = both

    assert theirs(text).input_ids == ours(text).input_ids


@given(parts=st.lists(st.one_of(st.text(max_size=12), st.sampled_from([*TURBO_TAGS, *TEXTS])), max_size=6))
@settings(deadline=None, max_examples=200)
def test_both_give_the_same_ids_of_any_text(both: tuple[TurboTokenizer, Any], parts: list[str]) -> None:
    """Unicode of any kind, with tags in between."""
    ours, theirs = both
    text = "".join(parts)

    assert theirs(text).input_ids == ours(text).input_ids


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "normalized", "single_word", "special"])
@pytest.mark.parametrize("prefix", [False, True])
def test_flags_of_added_tokens_count(changed_folder: Folder, flag: str, *, prefix: bool) -> None:
    """A token that swallows the spaces beside it, or stands alone only, does so here too."""
    config = json.loads((changed_folder() / CONFIG).read_bytes())
    for number, token in enumerate(config["added_tokens_decoder"].values()):
        token[flag] = token[flag] if number % 3 else not token[flag]
    folder = changed_folder(added_tokens_decoder=config["added_tokens_decoder"], add_prefix_space=prefix)
    ours, theirs = turbo_tokenizer(folder), transformers_tokenizer(folder)

    assert isinstance(ours, TurboTokenizer)
    assert _backend(theirs) == _backend(ours)
    assert [theirs(text).input_ids for text in TEXTS] == [ours(text).input_ids for text in TEXTS]


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_token": "<|endoftext|>", "errors": "replace", "clean_up_tokenization_spaces": True},
        {"bos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True}},
        {"tokenizer_class": "GPT2TokenizerFast", "extra_special_tokens": {}, "add_bos_token": False},
    ],
)
def test_settings_that_change_no_id_need_no_transformers(changed_folder: Folder, changes: dict[str, Any]) -> None:
    """What such files usually say beside."""
    folder = changed_folder(**changes)
    ours, theirs = turbo_tokenizer(folder), transformers_tokenizer(folder)

    assert isinstance(ours, TurboTokenizer)
    assert _backend(theirs) == _backend(ours)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_class": "PreTrainedTokenizerFast"},
        {"add_bos_token": True},
        {"split_special_tokens": True},
        {"pad_token": "[PAD]"},
        {"added_tokens_decoder": None},
        {"extra_special_tokens": ["[more]"]},
        {"something_new": 1},
    ],
)
def test_folder_that_says_more_is_left_to_transformers(
    changed_folder: Folder, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Nothing is guessed: whoever defined the files reads them."""
    monkeypatch.setattr("tts_service.models.chatterbox.turbo_tokenizer.transformers_tokenizer", lambda folder: folder)
    folder = changed_folder(**changes)

    assert folder == turbo_tokenizer(folder)


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_folder_with_another_form_is_left_to_transformers(
    changed_folder: Folder, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """It would read that file first."""
    monkeypatch.setattr("tts_service.models.chatterbox.turbo_tokenizer.transformers_tokenizer", lambda folder: folder)
    folder = changed_folder()
    (folder / file).write_text("{}", encoding="utf-8")

    assert folder == turbo_tokenizer(folder)
