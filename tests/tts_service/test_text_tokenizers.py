"""Tokenizers come from the folder and from nowhere else, and each language says what it lacks."""

import json
from pathlib import Path

import pytest

from tests.fakes.no_network import cut_network
from tests.fakes.tiny_weights import own_copy, replaced, tiny_folder
from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.languages import LanguageReadiness, english_readiness, language_readiness
from tts_service.models.chatterbox.layout import CANGJIE_FILE
from tts_service.models.chatterbox.text_tokenizers import is_importable, load_text_tokenizer, segmenter_folder
from tts_service.models.chatterbox.vocabulary import TURBO_TAGS

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel


@pytest.fixture
def multilingual(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """Return a Multilingual folder of one's own."""
    return own_copy(tiny_folder(tmp_path_factory.getbasetemp(), MULTILINGUAL), tmp_path / "multilingual")


@pytest.fixture
def segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the segmenter looks for its model, which is not there."""
    config = pytest.importorskip("spacy_pkuseg.config").config
    monkeypatch.setattr(config, "pkuseg_home", str(tmp_path / "pkuseg"))
    return tmp_path / "pkuseg" / "spacy_ontonotes"


@pytest.mark.parametrize("model", ChatterboxModel)
@pytest.mark.usefixtures("segmenter")
def test_tokenizer_is_made_without_asking_anybody(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, model: ChatterboxModel
) -> None:
    """No connection and no name look-up is even tried."""
    folder = tiny_folder(tmp_path_factory.getbasetemp(), model)
    asked = cut_network(monkeypatch)

    assert load_text_tokenizer(folder, model)
    assert [] == asked


def test_english_text_comes_back_from_its_tokens(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Upstream's class encodes and decodes with the folder's file."""
    tokenizer = load_text_tokenizer(tiny_folder(tmp_path_factory.getbasetemp(), ENGLISH), ENGLISH)
    text = "Hello there, nine little lights."

    assert text == tokenizer.decode(tokenizer.encode(text))


def test_turbos_tags_are_tokens_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A tag is one token, and the same tags are known wherever tags are spoken of."""
    tokenizer = load_text_tokenizer(tiny_folder(tmp_path_factory.getbasetemp(), TURBO), TURBO)

    assert [1] * len(TURBO_TAGS) == [len(tokenizer(tag).input_ids) for tag in TURBO_TAGS]


@pytest.mark.usefixtures("segmenter")
def test_multilingual_text_begins_with_its_language(multilingual: Path) -> None:
    """Each of the languages has a token, and Chinese is coded by the folder's table."""
    tokenizer = load_text_tokenizer(multilingual, MULTILINGUAL)
    vocabulary = tokenizer.tokenizer.get_vocab()
    chinese = tokenizer.encode("你好", language_id="zh")

    assert vocabulary["[fr]"] == tokenizer.encode("bonjour", language_id="fr")[0]
    assert ["[zh]", "[cj_o]", "[cj_n]", "[cj_f]", "[cj_.]"] == [
        next(token for token, number in vocabulary.items() if number == each) for each in chinese[:5]
    ]


def test_tokenizer_that_changed_since_the_check_is_an_error(multilingual: Path) -> None:
    """Whatever its reader says, the file is named."""
    replaced(multilingual / "grapheme_mtl_merged_expanded_v1.json", b"{}")
    with pytest.raises(StartupError, match="grapheme_mtl_merged_expanded_v1"):
        load_text_tokenizer(multilingual, MULTILINGUAL)


@pytest.mark.parametrize("data", [b"", b"[1, 2]", b'["one"]', b"7"])
def test_table_of_chinese_codes_that_is_none_is_an_error(multilingual: Path, data: bytes) -> None:
    """Upstream goes on without; here the file is named."""
    replaced(multilingual / CANGJIE_FILE, data)
    with pytest.raises(StartupError, match=CANGJIE_FILE):
        load_text_tokenizer(multilingual, MULTILINGUAL)


def _missing(folder: Path, *, packages: set[str]) -> dict[str, tuple[str, ...]]:
    def importable(package: str) -> bool:
        return package in packages

    tokenizer = load_text_tokenizer(folder, MULTILINGUAL, importable=importable)
    readiness = language_readiness(folder, tokenizer, importable=importable)
    assert 23 == len(readiness)
    return {each.language: each.missing for each in readiness if not each.is_ready}


@pytest.mark.usefixtures("segmenter")
def test_languages_without_their_packages_are_told_one_by_one(multilingual: Path) -> None:
    """With no optional package there, four languages lack one each, and the other nineteen are ready."""
    assert {
        "he": ("the Python package dicta_onnx",),
        "ja": ("the Python package pykakasi",),
        "ru": ("the Python package russian_text_stresser",),
        "zh": ("the Python package spacy_pkuseg",),
    } == _missing(multilingual, packages=set())


@pytest.mark.usefixtures("segmenter")
def test_chinese_lacks_its_table_and_its_segmenters_model(multilingual: Path) -> None:
    """An installed segmenter without its model is not asked to download it, but reported."""
    (multilingual / CANGJIE_FILE).unlink()
    packages = {"dicta_onnx", "pykakasi", "russian_text_stresser", "spacy_pkuseg"}

    assert {
        "zh": (
            "Cangjie5_TC.json beside the weights",
            "spacy_pkuseg's model spacy_ontonotes in PKUSEG_HOME (~/.pkuseg)",
        )
    } == _missing(multilingual, packages=packages)


def test_segmenters_model_is_found_where_the_package_keeps_it(segmenter: Path) -> None:
    """The folder counts, not the name, so that nothing is looked up."""
    before = segmenter_folder()
    segmenter.mkdir(parents=True)

    assert (None, segmenter) == (before, segmenter_folder())


@pytest.mark.usefixtures("segmenter")
def test_language_without_a_token_is_told(multilingual: Path) -> None:
    """A tokenizer of an older release knows fewer languages."""
    path = multilingual / "grapheme_mtl_merged_expanded_v1.json"
    content = json.loads(path.read_bytes())
    text = json.dumps(content).replace('"[sw]"', '"[xx]"')
    replaced(path, text.encode())
    packages = {"dicta_onnx", "pykakasi", "russian_text_stresser"}

    assert ("the token [sw] in the tokenizer",) == _missing(multilingual, packages=packages)["sw"]


def test_model_of_one_language_says_so() -> None:
    """English and Turbo speak English, and lack nothing for it."""
    assert (LanguageReadiness(language="en", name="English"),) == english_readiness(TURBO)


def test_package_is_looked_for_and_not_imported() -> None:
    """What is not installed is not importable, what is installed is."""
    assert (False, True) == (is_importable("no_such_package_anywhere"), is_importable("torch"))
