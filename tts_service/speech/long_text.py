"""Where to cut a text that is too long to be said at once and has no sentence end: clause, word, character."""

import re
import unicodedata

from tts_service.speech.punctuation import CLAUSE_ENDS, CLOSERS, SPACED_CLAUSE_ENDS
from tts_service.speech.speakable import is_speakable

# Punctuation between clauses with the white space after it; the full-width forms need no white space.
_CLAUSE_END = re.compile(rf"[{SPACED_CLAUSE_ENDS}][{CLOSERS}]*\s+|[{CLAUSE_ENDS}]\s*")
_WORD_END = re.compile(r"\s+")

_JOINER = "\u200d"
_VIRAMA_CLASS = 9
_CLUSTER_STEPS = 40
"""Longest way back to the start of a character cluster. Family emoji and tag sequences stay below 20 code points."""


def cut_long_text(text: str, start: int, limit: int) -> int:
    """Return where the piece that begins at `start` ends: at most at `limit`, which lies before the end of `text`.

    A clause end in the last two thirds is best, then the last end of a word, then the last place between two
    characters as readers see them.
    """
    assert start < limit < len(text)
    later = start + (limit - start) // 3
    for end in (_last(_CLAUSE_END, text, later, limit), _last_word_end(text, start, limit)):
        if end is not None and is_speakable(text[start:end]):
            return end
    return cut_between_characters(text, start, limit)


def cut_between_characters(text: str, start: int, limit: int) -> int:
    """Return the last place up to `limit` that parts no cluster of code points; `limit` itself if there is none."""
    for end in range(limit, max(start, limit - _CLUSTER_STEPS), -1):
        if _parts_characters(text, start, end):
            return end
    return limit


def _last(pattern: re.Pattern[str], text: str, start: int, limit: int) -> int | None:
    end = None
    for match in pattern.finditer(text, start, limit):
        end = match.end()
    return end


def _last_word_end(text: str, start: int, limit: int) -> int | None:
    return limit if text[limit].isspace() else _last(_WORD_END, text, start, limit)


def _parts_characters(text: str, start: int, end: int) -> bool:
    """Return True if a reader sees one character end and another begin at `end`."""
    if end >= len(text):
        return True
    before, after = text[end - 1], text[end]
    return not (
        before == _JOINER
        or _extends(after)
        or (before == "\r" and after == "\n")
        or (unicodedata.combining(before) == _VIRAMA_CLASS and after.isalpha())
        or (_is_flag_half(after) and _flag_halves_before(text, start, end) % 2 == 1)
        or _joins_hangul(before, after)
    )


def _extends(character: str) -> bool:
    """Return True for code points that belong to the one before: marks, joiners, skin tones, tags."""
    return (
        character in "\u200c\u200d"
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or "\U000e0020" <= character <= "\U000e007f"
        or unicodedata.category(character).startswith("M")
    )


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_halves_before(text: str, start: int, end: int) -> int:
    first = end
    while first > start and _is_flag_half(text[first - 1]):
        first -= 1
    return end - first


def _joins_hangul(before: str, after: str) -> bool:
    """Return True inside a syllable that is spelled in conjoining letters."""
    follows_any = "\u1160" <= after <= "\u11ff"
    follows_leading = "\u1100" <= after <= "\u115f" or "\uac00" <= after <= "\ud7a3"
    return follows_any or ("\u1100" <= before <= "\u115f" and follows_leading)
