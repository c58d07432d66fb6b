"""Guards against speech that does not end: a budget of tokens from the text's length, and a watch for loops.

Networks like T3 now and then miss their stop token and then babble, hum or loop until the token limit, 40 s on.
Upstream guards only Multilingual. These guards are the product's; comparisons with upstream switch them off.
"""

import unicodedata
from collections import deque
from typing import Final

BASE_TOKENS: Final = 75
"""3 s for pauses, breath and a slow start, whatever the text."""

LETTER_TOKENS: Final = 4
HEAVY_TOKENS: Final = 18
"""Tokens (40 ms each) for a letter or space, and for a character that is a syllable or a word when spoken: digits,
symbols, CJK."""

USUAL_LETTER_TOKENS: Final = 5 / 3
USUAL_HEAVY_TOKENS: Final = 6.0
"""What such characters usually take: English is spoken at 15 letters a second, Chinese at 4 characters. Budgets are
more than twice as much."""

_SYLLABIC: Final = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL SYLLABLE")

LONGEST_PERIOD: Final = 25
"""Loops of up to a second are noticed."""

LOOP_TOKENS: Final = 50
LOOP_TURNS: Final = 3
"""A loop is this many tokens equal to those a period before, and so many turns: 2 s of one sound, 3 s of a second."""


def token_budget(text: str) -> int:
    """Return how many speech tokens a text may take: about twice what it usually does, and 3 s."""
    return BASE_TOKENS + sum(HEAVY_TOKENS if _is_heavy(character) else LETTER_TOKENS for character in text)


def usual_tokens(text: str) -> float:
    """Return about how many speech tokens a text takes."""
    return sum(USUAL_HEAVY_TOKENS if _is_heavy(character) else USUAL_LETTER_TOKENS for character in text)


def _is_heavy(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Lo":
        return unicodedata.name(character, "").startswith(_SYLLABIC)
    return category[0] in "NS"


class LoopWatch:
    """Notices that tokens have begun to repeat with some period. Its memory is bounded by the longest one."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=LONGEST_PERIOD)
        """The newest first."""
        self._equal: dict[int, int] = {}
        """How many tokens in a row were equal to those so many before, by that period; hardly any period has some."""

    def looping(self, token: int) -> bool:
        """Take the next token; say whether it goes on with a loop that has lasted too long."""
        recent, equal, period = self._recent, dict[int, int](), 0
        for _ in range(recent.count(token)):
            period = recent.index(token, period) + 1
            equal[period] = self._equal.get(period, 0) + 1
        self._equal = equal
        recent.appendleft(token)
        return any(count >= max(LOOP_TOKENS, LOOP_TURNS * period) for period, count in equal.items())

    def __repr__(self) -> str:
        period = max(self._equal, key=self._equal.__getitem__, default=0)
        return f"<LoopWatch {self._equal.get(period, 0)} tokens as {period} before>"
