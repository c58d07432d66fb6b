"""Full stops after abbreviations and words, and when the next word must be whole to tell."""

import pytest

from tts_service.speech.full_stops import Follower, ends_sentence


@pytest.mark.parametrize(
    ("language", "head", "stop", "first", "expected"),
    [
        ("en", "He came", ".", "T", True),
        ("en", "he came", ".", "t", True),
        ("en", "He came", ".", "5", True),
        ("en", "Hello Dr", ".", "S", False),
        ("en", "At 5 p.m", ".", "t", False),
        ("en", "Wait", "...", "w", False),
        ("en", "Wait", "\u2026", "w", False),
        ("en", "Wait", "...", "W", True),
        ("en", "Page no", ".", "5", False),
        ("en", "He said no", ".", "H", True),
        ("en", "(see fig", ".", "2", False),
        ("en", "about approx", ".", "f", False),
        ("en", "https://a.b/c", ".", "T", True),
        ("en", "mail example.co", ".", "T", True),
        ("sv", "katt, t.ex", ".", "e", False),
        ("fr", "Bonjour M", ".", "D", False),
        ("fi", "huomenna 2", ".", "k", False),
        ("en", "I have 2", ".", "T", True),
        ("ru", "\u041f\u0440\u0438\u0448\u0451\u043b \u0410", ".", "\u0421", False),
        ("it", "il signor G", ".", "V", False),
        ("en", "Yahoo", "!", "i", False),
        ("en", "Wow", "!", "i", True),
        ("zh", "Hi", ".", "\u4f60", True),
    ],
)
def test_stop_is_judged_by_the_next_character(
    language: str, head: str, stop: str, first: str, *, expected: bool
) -> None:
    """One character behind the stop is enough where no whole word could change the answer."""
    actual = ends_sentence(language, head, stop, Follower(first=first, word=None))

    assert expected is actual


@pytest.mark.parametrize(
    ("head", "word", "expected"),
    [("in the U.S", "Army", False), ("in the U.S", "He", True), ("and etc", "They", True), ("by J", "Smith", False)],
)
def test_stop_after_what_may_be_an_abbreviation_needs_the_next_word(head: str, word: str, *, expected: bool) -> None:
    """Whether the abbreviation ends the sentence is decided by the word behind it, once that is whole."""
    unsure = ends_sentence("en", head, ".", Follower(first=word[0], word=None))
    sure = ends_sentence("en", head, ".", Follower(first=word[0], word=word))

    assert (None, expected) == (unsure, sure)
