"""Where a text without sentence ends is cut."""

import pytest

from tts_service.speech.long_text import cut_between_characters, cut_long_text

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f1e9\U0001f1ea"
THUMB = "\U0001f44d\U0001f3fd"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("one two, three four five", 20, "one two, "),
        ("one, two three four five", 20, "one, two three four "),
        ("one two three, four: five", 23, "one two three, four: "),
        ("one two three four five", 13, "one two three"),
        ('say "one," and then two', 18, 'say "one," '),
        ("12:30 and 1,000 things to do", 20, "12:30 and 1,000 "),
        ("\u4e00\u4e8c\uff0c\u4e09\u56db\u4e94", 5, "\u4e00\u4e8c\uff0c"),
        ("- unbrokenwordwithoutend", 10, "- unbroken"),
        ("unbrokenwordwithoutend", 8, "unbroken"),
    ],
)
def test_cut_is_at_a_clause_then_a_word_then_a_character(text: str, limit: int, expected: str) -> None:
    """A late clause end is best; a word is not broken if it need not be, and a piece says something."""
    assert expected == text[: cut_long_text(text, 0, limit)]


@pytest.mark.parametrize(
    ("cluster", "inside"),
    [
        ("e\u0301", 1),
        (FAMILY, 1),
        (FAMILY, 2),
        (FAMILY, 4),
        (FLAG, 1),
        (THUMB, 1),
        ("\r\n", 1),
        ("\u0915\u094d\u0937", 1),
        ("\u0915\u094d\u0937", 2),
        ("\u1112\u1161\u11ab", 1),
        ("\u1112\u1161\u11ab", 2),
        ("1\ufe0f\u20e3", 1),
    ],
)
def test_cut_never_parts_what_is_drawn_as_one_character(cluster: str, inside: int) -> None:
    """A limit inside accents, joined emoji, flags, conjuncts and syllables moves before them."""
    text = "ab" + cluster + "c"

    assert 2 == cut_between_characters(text, 0, 2 + inside)


def test_flags_in_a_row_are_parted_in_pairs() -> None:
    """Between two flags is a place to cut, inside one is not."""
    text = FLAG * 3

    assert [2, 2, 4, 4] == [cut_between_characters(text, 0, limit) for limit in (2, 3, 4, 5)]


def test_cluster_without_end_is_cut_at_the_limit() -> None:
    """A hundred accents on one letter do not make the cut go back for ever."""
    assert 90 == cut_between_characters("e" + "\u0301" * 100, 0, 90)
