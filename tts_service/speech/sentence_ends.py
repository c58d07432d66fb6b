"""Where sentences end in text that is still growing.

Every answer depends on the text from the start of the sentence to a bounded look-ahead behind the stop, and is given
only when that much is there. So it is the same however the text arrived:
* A stop needs what is behind it up to the next letter or digit (quotes, white space, emoji: at most LOOK_AHEAD
  characters), and after what may be an abbreviation the whole next word.
* A blank line ends a sentence as soon as it is seen. A single line break does so where the line was broken on purpose.
* A sentence says something: a stop before the first letter or digit ends nothing.
"""

import re
import unicodedata
from dataclasses import dataclass

from tts_service.speech.full_stops import Follower, ends_sentence
from tts_service.speech.long_text import cut_between_characters
from tts_service.speech.punctuation import (
    BULLETS,
    CLOSERS,
    FULL_WIDTH_POINT,
    GERMAN_CLOSERS,
    GREEK_QUESTION_MARKS,
    LINE_BREAKS,
    QUOTATIVES,
    SMALL_SPACES,
    SPACED_CLOSERS,
    SPACED_OPENERS,
    STOPS,
    SURE_STOPS,
)
from tts_service.speech.speakable import is_speakable

LOOK_AHEAD = 40
"""Characters behind a stop, and of the next word, that may be read before it is decided."""

_WRAPPED_COLUMNS = 60
"""Text is seldom wrapped below so many columns: a shorter line was broken on purpose."""

_HEAD_CHARACTERS = 60

_CANDIDATE = re.compile(rf"[{LINE_BREAKS}]|[{STOPS}{SURE_STOPS}{GREEK_QUESTION_MARKS}]+")
_SURE = re.compile(f"[{SURE_STOPS}]")
_GREEK_QUESTION = re.compile(f"[{GREEK_QUESTION_MARKS}]+")

_GAP = re.compile(rf"[\W_]{{0,{LOOK_AHEAD}}}")
_WORD = re.compile(rf"\w{{1,{LOOK_AHEAD}}}")
_CLOSERS = re.compile(rf"(?:[{CLOSERS}{GERMAN_CLOSERS}]|[{SMALL_SPACES}]?[{SPACED_CLOSERS}])*")
_UNSPACED_CLOSERS = re.compile(f"[{CLOSERS}]*")
_BLANK_LINE = re.compile(r"[\n\u2028][^\S\n\u2028\u2029]*[\n\u2028]|\u2029")
_LAST_LINE_BREAK = re.compile(rf".*[{LINE_BREAKS}]", re.DOTALL)
_LAST_SPACE = re.compile(r".*\s", re.DOTALL)
_SPACED_OPENER = re.compile(rf"[{SPACED_OPENERS}][{SMALL_SPACES}]?$")

_LIST_MARK = re.compile(r"\d{1,3}|\w")
_BEFORE_LIST_MARK = re.compile(rf"[\s(\[{BULLETS}]*")
_BULLET = re.compile(rf"[{BULLETS}]\s")
_LIST_NUMBER = re.compile(r"\d{1,3}[.)]\s")
_LIST_NUMBER_CHARACTERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is known of a sentence that begins at `start`.

    `limit` is the last place where it may end, `column` the length of its first line before `start`, and `final` says
    that no text follows.
    """

    language: str
    text: str
    start: int
    limit: int
    column: int
    final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search found: an end, or the place to go on from, where `undecided` asks for more text first."""

    end: int | None = None
    resume: int
    undecided: bool = False


def find_sentence_end(view: View, position: int) -> Search:
    """Return the first end of the sentence at or behind `position`, which is where an earlier search of it stopped."""
    while match := _CANDIDATE.search(view.text, position, view.limit):
        found = _judge(view, match.start())
        if found.undecided:
            return Search(resume=match.start(), undecided=True)
        if found.end is not None and is_speakable(view.text[view.start : match.start()]):
            return Search(end=_within(view, found.end), resume=found.end)
        position = found.resume
    return Search(resume=min(view.limit, len(view.text)))


def _within(view: View, end: int) -> int:
    return end if end <= view.limit else cut_between_characters(view.text, view.start, view.limit)


def _judge(view: View, at: int) -> Search:
    """Judge the run of stops, or the line break, at `at`."""
    match = _CANDIDATE.match(view.text, at)
    assert match is not None
    is_break = view.text[at].isspace()
    stop_end = at if is_break else match.end()
    if stop_end > view.limit:
        return Search(resume=view.limit)
    gap = _GAP.match(view.text, stop_end)
    assert gap is not None
    if blank := _BLANK_LINE.search(view.text, stop_end, gap.end()):
        return Search(end=blank.end(), resume=blank.end())
    if gap.end() == len(view.text) and len(gap[0]) < LOOK_AHEAD and not view.final:
        return Search(resume=at, undecided=True)
    if gap.end() == len(view.text) and view.final:
        return Search(resume=gap.end())
    if is_break:
        return _judge_line_break(view, at, gap.end())
    return _judge_stop(view, at, stop_end, gap.end())


# --- stops ----------------------------------------------------------------------------------------------------------


def _judge_stop(view: View, at: int, stop_end: int, word_start: int) -> Search:
    """Judge a run of stops whose gap up to the next word is known."""
    text, stop = view.text, view.text[at:stop_end]
    sure = _SURE.search(stop) is not None
    closers = (_UNSPACED_CLOSERS if sure else _CLOSERS).match(text, stop_end, word_start)
    assert closers is not None
    end = _gap_end(text, stop_end, word_start)
    if end is None and sure:
        end = closers.end()
    no_end = Search(resume=stop_end)
    if end is None or not (sure or _parts_words(text, closers.end(), word_start)):
        return no_end
    if _continues(text, word_start, quoted=closers.end() > stop_end, in_number=stop == FULL_WIDTH_POINT):
        return no_end
    if sure:
        return Search(end=end, resume=end)
    if _is_other_mark(view.language, stop) or (stop == "." and _is_list_mark(view, at)):
        return no_end
    verdict = _ask(view, at, stop, word_start)
    if verdict is None:
        return Search(resume=at, undecided=True)
    return Search(end=end, resume=end) if verdict else no_end


def _gap_end(text: str, stop_end: int, word_start: int) -> int | None:
    """Return where the sentence ends in the gap: behind its last line break, or else behind its last white space."""
    if opener := _SPACED_OPENER.search(text[stop_end:word_start]):
        word_start = stop_end + opener.start()
    for pattern in (_LAST_LINE_BREAK, _LAST_SPACE):
        if match := pattern.match(text, stop_end, word_start):
            return match.end()
    return None


def _parts_words(text: str, at: int, word_start: int) -> bool:
    """Return True if white space or a symbol follows the stop and its quotes, not punctuation as in "e.g.,"."""
    return at < word_start and (text[at].isspace() or not unicodedata.category(text[at]).startswith("P"))


def _continues(text: str, word_start: int, *, quoted: bool, in_number: bool) -> bool:
    """Return True where the next word goes on: after quoted speech, as in "Go!" he said, or in a full-width number."""
    first = text[word_start : word_start + 1]
    return (in_number and first.isdecimal()) or (quoted and (first.islower() or first in QUOTATIVES))


def _is_other_mark(language: str, stop: str) -> bool:
    """Return True for a semicolon, which asks questions in Greek alone."""
    return language != "el" and _GREEK_QUESTION.fullmatch(stop) is not None


def _is_list_mark(view: View, at: int) -> bool:
    """Return True for the stop of "1." or "b." at the start of a line or of the sentence."""
    line_start = max(view.start, view.text.rfind("\n", view.start, at) + 1)
    lead = _BEFORE_LIST_MARK.match(view.text, line_start, at)
    assert lead is not None
    return _LIST_MARK.fullmatch(view.text, lead.end(), at) is not None


def _ask(view: View, at: int, stop: str, word_start: int) -> bool | None:
    """Return whether the stop ends the sentence, None if the next word is needed and not all there yet."""
    text = view.text
    word = _WORD.match(text, word_start)
    known = None
    if word is None:
        known = ""
    elif word.end() < len(text) or len(word[0]) == LOOK_AHEAD or view.final:
        known = word[0]
    follower = Follower(first=text[word_start : word_start + 1], word=known)
    return ends_sentence(view.language, text[max(view.start, at - _HEAD_CHARACTERS) : at], stop, follower)


# --- line breaks ----------------------------------------------------------------------------------------------------


def _judge_line_break(view: View, at: int, word_start: int) -> Search:
    """Judge a single line break: one before a list item, after a colon or after a short line is on purpose."""
    text = view.text
    first = text[word_start : word_start + 1]
    if first.isdecimal() and len(text) < word_start + _LIST_NUMBER_CHARACTERS and not view.final:
        return Search(resume=at, undecided=True)
    on_purpose = (
        _BULLET.search(text, at, word_start) is not None
        or _LIST_NUMBER.match(text, word_start) is not None
        or text[view.start : at].rstrip().endswith(":")
        or (_line_length(view, at) < _WRAPPED_COLUMNS and not first.islower())
    )
    if not on_purpose:
        return Search(resume=word_start)
    end = _gap_end(text, at, word_start)
    assert end is not None
    return Search(end=end, resume=end)


def _line_length(view: View, at: int) -> int:
    """Return the length of the line that ends at `at`, the part before the sentence included."""
    line_start = view.text.rfind("\n", view.start, at) + 1
    return at - line_start if line_start else view.column + at - view.start
