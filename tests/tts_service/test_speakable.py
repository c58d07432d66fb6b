"""What there is to say in a text."""

import pytest

from tts_service.speech.speakable import is_speakable


@pytest.mark.parametrize(
    "text", ["a", "5", "\u00e9", "\u4f60", "\u0e01", "\u0661", "\u00bd", "... x", "\U0001f600 ok", "1\ufe0f\u20e3 2"]
)
def test_letter_or_digit_of_any_script_is_speakable(text: str) -> None:
    """One letter or digit is enough."""
    assert is_speakable(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\n",
        "?!\u2026",
        "\U0001f600",
        "\U0001f1e9\U0001f1ea",
        "1\ufe0f\u20e3",
        "#\ufe0f\u20e3",
        "\u2139\ufe0f",
        "\x00\x1b",
        "\u200d\u200f",
        "__",
        "\u3164\u115f",
        "\u0301",
    ],
)
def test_emoji_punctuation_and_controls_are_not_speakable(text: str) -> None:
    """Nothing that a voice has a sound for."""
    assert not is_speakable(text)
