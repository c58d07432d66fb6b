"""Whether a stop between two words ends a sentence or an abbreviation.

The library sentencex knows the abbreviations of some 30 languages and falls back to a related one for about 300. It
judges whole texts: it finds no end between quotes, brackets or after an address, and it takes the end of the text for
an end. So it is only asked about one stop, with the two words before it and the next one, bare of quotes.

Rules on top of it, and why:
* It continues after "No." and other words that are abbreviations only before a number.
* It ends after "Dr." before a word that often opens sentences ("Dr. No"), and after "M." and "Mme." in French.
* It knows neither "approx." nor "vol.", and in some languages not the dotted ones ("t.ex." in Swedish).
* It knows ordinals ("am 2. Juni") by the names of months alone, and initials in Latin letters alone.
"""

import re
from dataclasses import dataclass
from itertools import accumulate

import sentencex

from tts_service.speech.punctuation import WRAPPERS

_TITLES = frozenset({"dr", "e.g", "i.e", "m", "messrs", "mlle", "mm", "mme", "mr", "mrs", "ms", "prof", "vs"})
_CONTINUED = frozenset({"approx", "excl", "incl", "tel", "vol", "vols"})
_BEFORE_NUMBERS = frozenset({"art", "ch", "eq", "fig", "figs", "no", "nos", "nr", "p", "pp", "sec"})
_PLAIN_WORDS = frozenset({"art", "fig", "ill", "mass", "may", "me", "no"})

_ORDINAL_LANGUAGES = frozenset(
    {"bs", "cs", "da", "de", "et", "fi", "hr", "hu", "is", "lv", "nb", "nn", "no", "pl", "sk", "sl", "sr", "tr"}
)
"""Languages that write an ordinal number as digits and a stop."""

_ORDINAL = re.compile(r"\d{1,2}")
_DOTTED = re.compile(r"\w{1,3}(?:\.\w{1,3})+")
_ADDRESS = re.compile(r"[/@\\]|^www\.|^\w{4,}\.\w")
_ASKED_STOP = re.compile(r"[.!?]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """The word after a stop: its first character, and the whole of it once that is known."""

    first: str
    word: str | None


def ends_sentence(language: str, head: str, stop: str, follower: Follower) -> bool | None:
    """Return True if `stop` between the end of `head` and `follower` ends a sentence, None if it takes more text.

    `language` is a primary subtag, `stop` a run of stops such as "." or "?!".
    """
    words = [_bare(word) for word in head.split()[-2:]]
    stop = stop.replace("…", "...").replace("‥", "..")
    if not words or not _ASKED_STOP.search(stop):
        return True
    if stop == "." and (known := _known(language, words[-1], follower.first)) is not None:
        return known
    return _ask(language, " ".join(words), stop, follower)


def _bare(word: str) -> str:
    """Return a word without the quotes around it; an address, whose parts look like abbreviations, as a plain word."""
    bare = word.strip(WRAPPERS)
    return "word" if not bare or _ADDRESS.search(bare) else bare


def _known(language: str, word: str, first: str) -> bool | None:
    """Return what our own rules say about a full stop after `word`, None if they say nothing."""
    lower = word.lower()
    if lower in _BEFORE_NUMBERS and first.isdecimal():
        return False
    if lower in _PLAIN_WORDS:
        return True
    if lower in _TITLES or lower in _CONTINUED:
        return False
    if language in _ORDINAL_LANGUAGES and _ORDINAL.fullmatch(word):
        return False
    if first.islower() and _DOTTED.fullmatch(word):
        return False
    if language != "en" and len(word) == 1 and word.isupper():
        return False
    return None


def _ask(language: str, head: str, stop: str, follower: Follower) -> bool | None:
    """Ask sentencex with a made-up word where the real one cannot matter, so that one character is context enough."""
    if follower.first.islower():
        return _breaks(language, head, stop, "zz")
    if follower.first.isdecimal():
        return _breaks(language, head, stop, "5")
    if _breaks(language, head, stop, "Zz"):
        return True
    return None if follower.word is None else _breaks(language, head, stop, follower.word)


def _breaks(language: str, head: str, stop: str, word: str) -> bool:
    """Return True if sentencex ends a sentence right after the stop and its space."""
    sentences = sentencex.segment(language, f"{head}{stop} {word} ")
    return len(head) + len(stop) + 1 in accumulate(map(len, sentences))
