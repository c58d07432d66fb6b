"""The built-in voice: hibari, a small English voice for a CPU core. It is not Chatterbox, and says so.

hibari itself is used as it is, but for how it is loaded: onnxruntime keeps no arena of its own, and the dictionaries
are string tables (see `string_table`), so that letting the voice go returns its memory.
"""

import importlib.metadata
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import hibari
import numpy as np
import onnxruntime
import structlog
import torch
from hibari import dsp
from hibari.g2p import G2P
from hibari.g2p.lexicon import Lexicon
from hibari.g2p.oov import OOV
from hibari.g2p.tagger import Tagger
from hibari.g2p.tokenize import Tokenizer
from numpy.typing import NDArray

from tts_service.models.string_table import StringTable, string_table_arrays
from tts_service.models.weights import Tensors
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, Waveform

ASSETS: Final = Path(hibari.__file__).parent / "assets"

DIGITS_READ_AS_NUMBER: Final = 15
"""Longer runs of digits are read one by one: nobody counts in quadrillions, and hibari fails beyond 36 digits."""

PHONEMES_AT_ONCE: Final = 400
"""hibari splits longer sentences at clauses; what has none is split at words, because memory grows with the square."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceFacts:
    """What clients are told about a voice."""

    voice_id: str
    model: str
    display_name: str
    languages: tuple[str, ...]
    description: str
    sample_rate_hertz: int


HEART: Final = VoiceFacts(
    voice_id="heart",
    model="hibari",
    display_name="Heart (built-in)",
    languages=("en-US", "en"),
    description=(
        "Built-in American English voice of hibari-tts, for machines without a GPU or without weights. "
        "This is not Chatterbox: it clones no voices and speaks no other language."
    ),
    sample_rate_hertz=MODEL_SAMPLE_RATE_HERTZ,
)


class BuiltinVoice:
    """hibari's voice `heart` with its phonemizer. Thread-safe; same text, seed and rate, same samples."""

    facts = HEART
    sample_rate_hertz = MODEL_SAMPLE_RATE_HERTZ

    def __init__(self, tensors: Tensors) -> None:
        assert hibari.SAMPLE_RATE == MODEL_SAMPLE_RATE_HERTZ
        self._hibari = _Hibari(_Phonemizer(tensors))

    def __repr__(self) -> str:
        return f"<BuiltinVoice {HEART.voice_id} of hibari {hibari.__version__}>"

    def synthesize(self, text: str, *, seed: int, speaking_rate: float) -> Waveform:
        """Return the speech of a text; empty if there is nothing to say.

        `seed` is 0 or more and fixes the breath noise; `speaking_rate` 1.0 is the voice's own pace, 2.0 twice that.
        """
        noise = np.random.default_rng(seed)
        spoken = [
            self._hibari.from_ids(self._hibari.ids(phonemes), speaking_rate, noise) for phonemes in self.phonemes(text)
        ]
        return np.clip(np.concatenate(spoken), -1.0, 1.0) if spoken else np.zeros(0, np.float32)

    def phonemes(self, text: str) -> tuple[str, ...]:
        """Return the phonemes of a text, in pieces that are spoken at once."""
        return tuple(piece for sentence in self._sentences(readable(text)) for piece in _pieces(sentence))

    def _sentences(self, text: str) -> list[str]:
        try:
            return list(self._hibari.phonemize(text))
        except (IndexError, KeyError, TypeError, ValueError):
            # A rare mix of characters that hibari's number rules do not expect: the other words must still be heard.
            return list(self._words(text))

    def _words(self, text: str) -> Iterator[str]:
        for word in text.split():
            try:
                yield from self._hibari.phonemize(word)
            except (IndexError, KeyError, TypeError, ValueError) as error:
                _log.warning("word_not_readable", characters=len(word), error=type(error).__name__)


class _Hibari(hibari.Hibari):  # type: ignore[misc]  # hibari ships no types.
    """hibari over a session that keeps no memory arena; its own would hold twice the bytes after the first use."""

    def __init__(self, phonemizer: "_Phonemizer") -> None:
        self.voice = HEART.voice_id
        self.sess = _session("hibari.onnx")
        self.vocab = json.loads((ASSETS / "vocab.json").read_text(encoding="utf-8"))
        self._g2p = phonemizer


class _Phonemizer(G2P):  # type: ignore[misc]  # hibari ships no types.
    """hibari's phonemizer for American English over string tables."""

    def __init__(self, tensors: Tensors) -> None:
        tables = {name: StringTable(arrays) for name, arrays in _arrays_by_table(tensors).items()}
        self.lexicon = Lexicon(tables["gold"], tables["silver"], british=False)
        self.tokenizer = Tokenizer(json.loads((ASSETS / "tokenizer_exceptions.json").read_text(encoding="utf-8")))
        tags = tables["tags"].get("tags")
        self.tagger = Tagger({"tagdict": tables["tagdict"], "weights": tables["weights"], "tags": tags})
        self.tagger.vocab = tables["vocab"]
        self._oov = OOV(str(ASSETS / "oov.onnx"), _session("oov.onnx"))
        self.unk = ""
        self.british = False


def lexicon_source() -> str:
    """Name what the lexicon's tensors are made from."""
    return f"hibari-tts {importlib.metadata.version('hibari-tts')}"


def lexicon_tensors() -> dict[str, torch.Tensor]:
    """Convert hibari's dictionaries for American English; about a second, once."""
    tagger = _asset("tagger.json.gz")
    dictionaries = {
        "gold": _asset("lexicon_us_gold.json.gz"),
        "silver": _asset("lexicon_us_silver.json.gz"),
        "tagdict": tagger["tagdict"],
        "weights": tagger["weights"],
        "vocab": dict.fromkeys(tagger["vocab"], 1),
        "tags": {"tags": tagger["tags"]},
    }
    return {
        f"{name}.{part}": torch.from_numpy(array.copy())
        for name, dictionary in dictionaries.items()
        for part, array in string_table_arrays(dictionary).items()
    }


def forget() -> None:
    """Empty what hibari keeps per module and not per voice: windows for the last lengths, up to 1 MiB each."""
    dsp._ola_norm.cache_clear()  # noqa: SLF001  # hibari offers no other way.


def readable(text: str) -> str:
    """Return the text without what hibari's rules trip over; ordinary text comes back as it is."""
    plain = "".join(_plain_character(character) for character in text)
    return _LONG_NUMBER.sub(lambda number: " ".join(re.findall(r"\d", number[0])), plain)


_LONG_NUMBER: Final = re.compile(rf"\d(?:,?\d){{{DIGITS_READ_AS_NUMBER},}}")


def _plain_character(character: str) -> str:
    if character.isdigit() and not character.isdecimal():
        return str(unicodedata.digit(character))
    # Its lower-case form is two characters long, which no rule for one character expects.
    return "I" if character == "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" else character


def _pieces(phonemes: str) -> Iterator[str]:
    """Split phonemes at the last space within PHONEMES_AT_ONCE, so that no piece is longer."""
    while len(phonemes) > PHONEMES_AT_ONCE:
        cut = phonemes.rfind(" ", 0, PHONEMES_AT_ONCE) + 1 or PHONEMES_AT_ONCE
        yield phonemes[:cut]
        phonemes = phonemes[cut:]
    yield phonemes


def _session(asset: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(ASSETS / asset), options, providers=["CPUExecutionProvider"])


def _asset(name: str) -> Any:
    # hibari's own reader, so that a change of its files' form is a change of its code.
    from hibari.g2p import _load_json  # noqa: PLC0415

    return _load_json(name)


def _arrays_by_table(tensors: Tensors) -> Mapping[str, dict[str, NDArray[Any]]]:
    tables: dict[str, dict[str, NDArray[Any]]] = {}
    for name, tensor in tensors.items():
        table, part = name.split(".")
        tables.setdefault(table, {})[part] = tensor.numpy()
    return tables
