"""Text as T3 takes it: upstream's normalisation and tokenizers, languages, tags, and what is too long."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.t3_network import t3_hyper_parameters
from tts_service.models.chatterbox.upstream import upstream
from tts_service.models.chatterbox.vocabulary import TURBO_TAGS
from tts_service.speech.text_tokens import (
    TextVocabulary,
    check_tags,
    language_id,
    languages,
    normalised,
    text_tokens,
    text_vocabulary,
)

SMALL = TextVocabulary(size=400, max_tokens=40, edges=(255, 0))
LETTERS = [chr(code) for code in range(32, 127)]
SPECIAL = ["[STOP]", "[START]", "[UNK]", "[SPACE]", "[en]", "[de]", "[zh]"]


class NoHub:
    """Stands in for upstream's Chinese converter, which asks the hub for its table."""

    def __init__(self, *_: object) -> None: ...

    def __call__(self, text: str) -> str:
        """Return the text as it is."""
        return text


def _character_tokenizer() -> Tokenizer:
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *LETTERS])}
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token="[UNK]"))
    tokenizer.add_special_tokens([*SPECIAL, *TURBO_TAGS])
    return tokenizer


@pytest.fixture
def tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[ChatterboxModel, Any]:
    """Return upstream's tokenizers over a vocabulary of single characters."""
    path = tmp_path / "tokenizer.json"
    _character_tokenizer().save(str(path))
    upstreams = upstream("models.tokenizers.tokenizer")
    monkeypatch.setattr(upstreams, "ChineseCangjieConverter", NoHub)
    return {
        ChatterboxModel.ENGLISH: upstreams.EnTokenizer(str(path)),
        ChatterboxModel.MULTILINGUAL: upstreams.MTLTokenizer(str(path)),
        ChatterboxModel.TURBO: PreTrainedTokenizerFast(tokenizer_object=_character_tokenizer()),
    }


@pytest.mark.parametrize(
    ("model", "module"),
    [(ChatterboxModel.ENGLISH, "tts"), (ChatterboxModel.MULTILINGUAL, "mtl_tts"), (ChatterboxModel.TURBO, "tts_turbo")],
)
@settings(deadline=None, max_examples=50)
@given(text=st.text(st.sampled_from("aZ é…—\u2013“\u2019;:.,!?、。 \n-"), min_size=1, max_size=40))
def test_normalisation_is_upstreams(model: ChatterboxModel, module: str, text: str) -> None:
    """Each model's text goes through its own `punc_norm`."""
    assert upstream(module).punc_norm(text) == normalised(text, model)


def test_models_normalise_differently() -> None:
    """Turbo keeps dots and semicolons, Multilingual knows the full stops of Asia."""
    assert "Well, no, yes." == normalised("well...no;yes", ChatterboxModel.ENGLISH)
    assert "Well...no;yes." == normalised("well...no;yes", ChatterboxModel.TURBO)
    assert "好。" == normalised("好。", ChatterboxModel.MULTILINGUAL)
    assert "好。." == normalised("好。", ChatterboxModel.ENGLISH)


def test_english_tokens_equal_what_upstreams_generate_makes(tokenizers: dict[ChatterboxModel, Any]) -> None:
    """Start token, upstream's tokens of the normalised text, stop token."""
    tokenizer = tokenizers[ChatterboxModel.ENGLISH]
    expected = torch.nn.functional.pad(tokenizer.text_to_tokens("Hello there.")[0], (1, 0), value=255)
    expected = torch.nn.functional.pad(expected, (0, 1), value=0).long()
    tokens = text_tokens(
        "hello  there", model=ChatterboxModel.ENGLISH, tokenizer=tokenizer, language="en-GB", vocabulary=SMALL
    )

    assert torch.equal(expected, tokens)
    assert torch.int64 == tokens.dtype


def test_multilingual_tokens_begin_with_the_language(tokenizers: dict[ChatterboxModel, Any]) -> None:
    """The language's own token stands before the text, in upstream's code."""
    tokens = text_tokens(
        "hallo",
        model=ChatterboxModel.MULTILINGUAL,
        tokenizer=tokenizers[ChatterboxModel.MULTILINGUAL],
        language="de-AT",
        vocabulary=SMALL,
    )

    assert [255, SPECIAL.index("[de]")] == tokens[:2].tolist()
    assert [*"hallo."] == [LETTERS[token - len(SPECIAL)] for token in tokens[2:-1].tolist()]


def test_turbos_tags_pass_through(tokenizers: dict[ChatterboxModel, Any]) -> None:
    """A tag stays one token, and no start or stop token is added."""
    tokenizer = tokenizers[ChatterboxModel.TURBO]
    vocabulary = TextVocabulary(size=400, max_tokens=40, edges=None)
    tokens = text_tokens(
        "No [laugh] way!", model=ChatterboxModel.TURBO, tokenizer=tokenizer, language="en", vocabulary=vocabulary
    )

    assert tokenizer("No [laugh] way!").input_ids == tokens.tolist()
    assert 1 == tokens.tolist().count(tokenizer.convert_tokens_to_ids("[laugh]"))


@pytest.mark.parametrize("model", [ChatterboxModel.ENGLISH, ChatterboxModel.MULTILINGUAL])
@pytest.mark.parametrize("tag", [*TURBO_TAGS, "[LAUGH]"])
def test_tag_on_a_model_without_tags_is_the_callers_error(model: ChatterboxModel, tag: str) -> None:
    """A tag that would be read out is refused by name."""
    with pytest.raises(CallerError) as caught:
        check_tags(f"Well {tag} no.", model)

    assert Reason.BAD_CONFIG is caught.value.reason
    assert ["text"] == [violation.field for violation in caught.value.violations]
    assert tag in caught.value.message


@pytest.mark.parametrize("model", ChatterboxModel)
def test_other_brackets_are_text(model: ChatterboxModel) -> None:
    """What only looks like a tag is spoken."""
    check_tags("See [1] and [sic].", model)

    assert "See [1] and [sic]." == normalised("See [1] and [sic].", model)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [("en", "en"), ("en-US", "en"), ("PT_br", "pt"), ("zh-Hant-TW", "zh"), ("nb-NO", "no"), ("iw", "he")],
)
def test_language_tag_becomes_upstreams_id(tag: str, expected: str) -> None:
    """Regions, scripts, case and older codes do not matter."""
    assert expected == language_id(tag, ChatterboxModel.MULTILINGUAL)


@pytest.mark.parametrize(
    ("tag", "model"),
    [
        ("xx", ChatterboxModel.MULTILINGUAL),
        ("", ChatterboxModel.MULTILINGUAL),
        ("de", ChatterboxModel.ENGLISH),
        ("fr-FR", ChatterboxModel.TURBO),
    ],
)
def test_unknown_language_is_the_callers_error_and_lists_the_known(tag: str, model: ChatterboxModel) -> None:
    """A language that the model does not speak is refused with those that it does."""
    with pytest.raises(CallerError) as caught:
        language_id(tag, model)

    assert Reason.BAD_LANGUAGE is caught.value.reason
    assert "language" == caught.value.violations[0].field
    assert all(language in caught.value.message for language in languages(model))


def test_multilingual_speaks_upstreams_languages() -> None:
    """There are 23, and each is its own id."""
    known = languages(ChatterboxModel.MULTILINGUAL)

    assert 23 == len(known)
    assert known == tuple(language_id(each, ChatterboxModel.MULTILINGUAL) for each in known)


def test_text_that_is_too_long_is_the_callers_error(tokenizers: dict[ChatterboxModel, Any]) -> None:
    """More tokens than the network has positions are refused before anything is computed."""
    with pytest.raises(CallerError) as caught:
        text_tokens(
            "a" * 50,
            model=ChatterboxModel.ENGLISH,
            tokenizer=tokenizers[ChatterboxModel.ENGLISH],
            language="en",
            vocabulary=SMALL,
        )

    assert Reason.TEXT_TOO_LONG is caught.value.reason


def test_tokenizer_of_another_model_is_noticed(tokenizers: dict[ChatterboxModel, Any]) -> None:
    """A token that the embedding has no row for never reaches it."""
    with pytest.raises(ServiceError, match="another model's"):
        text_tokens(
            "zzz",
            model=ChatterboxModel.ENGLISH,
            tokenizer=tokenizers[ChatterboxModel.ENGLISH],
            language="en",
            vocabulary=TextVocabulary(size=50, max_tokens=40, edges=None),
        )


def test_vocabulary_is_read_from_the_network() -> None:
    """Sizes and edges are those of T3's own numbers."""
    found = [text_vocabulary(t3_hyper_parameters(model, NetworkSize.FULL), model) for model in ChatterboxModel]

    assert [704, 2454, 50_276] == [each.size for each in found]
    assert [(255, 0), (255, 0), None] == [each.edges for each in found]
