"""Upstream's tokenizers, made from a local folder and nothing else.

Multilingual's own constructor asks the hub for a table of Chinese codes and a package's server for a word segmenter. So
its parts are put together here, with what the folder and the machine have.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tts_service.errors import StartupError
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import CANGJIE_FILE, LAYOUTS
from tts_service.models.chatterbox.turbo_tokenizer import turbo_tokenizer
from tts_service.models.chatterbox.upstream import upstream

SEGMENTER_PACKAGE: Final = "spacy_pkuseg"
SEGMENTER_MODEL: Final = "spacy_ontonotes"
"""What upstream's tokenizer segments Chinese with; the model is a download of the package's own."""

Importable = Callable[[str], bool]


def is_importable(package: str) -> bool:
    """Tell whether a package is installed, without importing it."""
    return importlib.util.find_spec(package) is not None


def load_text_tokenizer(folder: Path, model: ChatterboxModel, *, importable: Importable = is_importable) -> Any:
    """Return upstream's tokenizer: `EnTokenizer` or `MTLTokenizer`; for Turbo one that gives its ids.

    The folder has been checked (`open_weights`). Raises StartupError if it has changed since.
    """
    path = folder / LAYOUTS[model].tokenizer_files[0]
    try:
        match model:
            case ChatterboxModel.ENGLISH:
                return upstream("models.tokenizers.tokenizer").EnTokenizer(str(path))
            case ChatterboxModel.MULTILINGUAL:
                return _multilingual(upstream("models.tokenizers.tokenizer"), path, importable)
            case ChatterboxModel.TURBO:
                return turbo_tokenizer(folder)
    except StartupError:
        raise
    except Exception as error:  # The tokenizers' reader, in another language, raises nothing narrower.
        raise StartupError(f"{path}: cannot be read as a tokenizer ({error})") from error


def cangjie_codes(path: Path) -> dict[str, str]:
    """Return the table from characters to codes; StartupError if it is not one."""
    try:
        lines = json.loads(path.read_text(encoding="utf-8"))
        return {word: code for word, code, *_ in (line.split("\t") for line in lines)}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StartupError(f"{path}: is not a table of Cangjie codes ({error})") from error


def segmenter_folder(*, importable: Importable = is_importable) -> Path | None:
    """Return where the segmenter's model is on this machine; None where package or model is missing."""
    if not importable(SEGMENTER_PACKAGE):
        return None
    from spacy_pkuseg.config import config  # noqa: PLC0415 - there only where the package is.

    folder = Path(config.pkuseg_home) / SEGMENTER_MODEL
    return folder if folder.is_dir() else None


def _multilingual(made: Any, path: Path, importable: Importable) -> Any:
    """Do what upstream's two constructors do, but for their downloads."""
    tokenizer = object.__new__(made.MTLTokenizer)
    tokenizer.tokenizer = made.Tokenizer.from_file(str(path))
    tokenizer.check_vocabset_sot_eot()
    tokenizer.cangjie_converter = _cangjie_converter(made, path.parent / CANGJIE_FILE, importable)
    return tokenizer


def _cangjie_converter(made: Any, path: Path, importable: Importable) -> Any:
    converter = object.__new__(made.ChineseCangjieConverter)
    converter.word2cj = cangjie_codes(path) if path.exists() else {}
    converter.cj2word = {}
    for word, code in converter.word2cj.items():
        converter.cj2word.setdefault(code, []).append(word)
    converter.segmenter = _segmenter(segmenter_folder(importable=importable))
    return converter


def _segmenter(folder: Path | None) -> Any:
    if folder is None:
        return None
    from spacy_pkuseg import pkuseg  # noqa: PLC0415 - there only where the package is.

    # By its folder and not by its name, which would be looked up at the package's server.
    return pkuseg(model_name=str(folder))
