"""Which of Multilingual's languages can be spoken as upstream means them, and what the others lack.

Upstream goes on silently without the packages that some languages need, and then speaks them badly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import CANGJIE_FILE
from tts_service.models.chatterbox.text_tokenizers import (
    SEGMENTER_MODEL,
    SEGMENTER_PACKAGE,
    Importable,
    is_importable,
    segmenter_folder,
)

NAMES: Final = {
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "sw": "Swahili",
    "tr": "Turkish",
    "zh": "Chinese",
}
"""Multilingual's languages and their English names, upstream's `SUPPORTED_LANGUAGES`; asking it would import it all."""

PACKAGES: Final = {
    "he": "dicta_onnx",
    "ja": "pykakasi",
    "ru": "russian_text_stresser",
    "zh": SEGMENTER_PACKAGE,
}
"""What upstream's tokenizer imports for a language: vowel points, readings, stress, words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageReadiness:
    """A language's code, its English name, and what is missing for it, in words for the operator."""

    language: str
    name: str
    missing: tuple[str, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Tell whether nothing is missing."""
        return not self.missing


def language_readiness(
    folder: Path, tokenizer: object, *, importable: Importable = is_importable
) -> tuple[LanguageReadiness, ...]:
    """Return every language of Multilingual, by code; `tokenizer` is the model's, from `folder`."""
    vocabulary = tokenizer.tokenizer.get_vocab()  # type: ignore[attr-defined]  # Upstream's, which has no types.
    return tuple(
        LanguageReadiness(language=code, name=name, missing=_missing(code, folder, vocabulary, importable))
        for code, name in sorted(NAMES.items())
    )


def english_readiness(model: ChatterboxModel) -> tuple[LanguageReadiness, ...]:
    """Return the one language of the two models that have no other."""
    assert model is not ChatterboxModel.MULTILINGUAL
    return (LanguageReadiness(language="en", name="English"),)


def _missing(code: str, folder: Path, vocabulary: dict[str, int], importable: Importable) -> tuple[str, ...]:
    missing = []
    if f"[{code}]" not in vocabulary:
        missing.append(f"the token [{code}] in the tokenizer")
    package = PACKAGES.get(code)
    if package is not None and not importable(package):
        missing.append(f"the Python package {package}")
    if code == "zh":
        missing += _missing_for_chinese(folder, importable)
    return tuple(missing)


def _missing_for_chinese(folder: Path, importable: Importable) -> list[str]:
    missing = [] if (folder / CANGJIE_FILE).is_file() else [f"{CANGJIE_FILE} beside the weights"]
    if importable(SEGMENTER_PACKAGE) and segmenter_folder(importable=importable) is None:
        missing.append(f"{SEGMENTER_PACKAGE}'s model {SEGMENTER_MODEL} in PKUSEG_HOME (~/.pkuseg)")
    return missing
