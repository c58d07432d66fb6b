# ruff: noqa: RUF001 - text in other scripts is the point.
"""Segments of whole texts and of texts that are still arriving."""

import sys
from types import FrameType

import pytest

from tests.fakes.arrivals import in_pieces
from tts_service.speech.segments import SegmentBuffer, is_speakable
from tts_service.speech.sentence_ends import LOOK_AHEAD
from tts_service.types import Segment

SENTENCES = {
    # Abbreviations, initials, titles.
    "Dr. Smith came. He left.": ["Dr. Smith came. ", "He left."],
    "See e.g. the book. Fine.": ["See e.g. the book. ", "Fine."],
    "He left, e.g., today. Fine.": ["He left, e.g., today. ", "Fine."],
    "The U.S. Army is in the U.S. He left.": ["The U.S. Army is in the U.S. ", "He left."],
    "J. R. R. Tolkien wrote. He did.": ["J. R. R. Tolkien wrote. ", "He did."],
    "At 5 p.m. he left. At 5 p.m. He left.": ["At 5 p.m. he left. ", "At 5 p.m. ", "He left."],
    "Mr. and Mrs. Smith vs. Jones etc. came. Ok.": ["Mr. and Mrs. Smith vs. Jones etc. came. ", "Ok."],
    "Approx. 5 kg, vol. 3, Fig. 2 (see St. Paul). Ok.": ["Approx. 5 kg, vol. 3, Fig. 2 (see St. Paul). ", "Ok."],
    "No. I don't. No. 5 is alive. Nos. 1 and 2.": ["No. ", "I don't. ", "No. 5 is alive. ", "Nos. 1 and 2."],
    "Dr. No is a film. Ok.": ["Dr. No is a film. ", "Ok."],
    # Numbers, lists, addresses.
    "It is 3.14 or 1,000.50 now. Yes.": ["It is 3.14 or 1,000.50 now. ", "Yes."],
    "It cost $5.50. $6 is more.": ["It cost $5.50. ", "$6 is more."],
    "1. First thing. 2. Second.": ["1. First thing. ", "2. Second."],
    "1. First\n2. Second\n3. Third": ["1. First\n", "2. Second\n", "3. Third"],
    "Go to https://a.b/c. Then stop.": ["Go to https://a.b/c. ", "Then stop."],
    "Mail a.b@c.com. See example.com. Ok.": ["Mail a.b@c.com. ", "See example.com. ", "Ok."],
    "See example.com/a?b=1&c=2.3 now. Ok.": ["See example.com/a?b=1&c=2.3 now. ", "Ok."],
    # Runs of stops, quotes, brackets, Markdown.
    "Wait... what? Yes... Maybe.": ["Wait... what? ", "Yes... ", "Maybe."],
    "Hmm… okay. Well… Fine.": ["Hmm… okay. ", "Well… ", "Fine."],
    "What?! No!! Really?!": ["What?! ", "No!! ", "Really?!"],
    'He said "Stop." Then left. "Go!" she said.': ['He said "Stop." ', "Then left. ", '"Go!" she said.'],
    "(He left.) Fine (he left.) and so on.": ["(He left.) ", "Fine (he left.) and so on."],
    "“Stop.” Then ‘Go.’ “Now.”": ["“Stop.” ", "Then ‘Go.’ ", "“Now.”"],
    "**Bold.** Next _one._ Ok.": ["**Bold.** ", "Next _one._ ", "Ok."],
    # Lines and paragraphs.
    "A title\n\nText.\n\n\nMore": ["A title\n\n", "Text.\n\n", "\nMore"],
    "To buy:\nEggs\nMilk 2 l\n10 apples": ["To buy:\n", "Eggs\n", "Milk 2 l\n", "10 apples"],
    "Done.\r\n\r\n- one\r\n- two": ["Done.\r\n\r\n", "- one\r\n", "- two"],
    "This line is as long as lines are in a text that is wrapped, and so on\n12. Next": [
        "This line is as long as lines are in a text that is wrapped, and so on\n",
        "12. Next",
    ],
    "This line is as long as lines are in a text that is wrapped, and I met\nPeter.": [
        "This line is as long as lines are in a text that is wrapped, and I met\nPeter."
    ],
    "This is a text in lines, and its first sentence ends here. Then I\nPeter met. Short line,\nPaul.": [
        "This is a text in lines, and its first sentence ends here. ",
        "Then I\nPeter met. ",
        "Short line,\n",
        "Paul.",
    ],
    # Nothing to say beside something to say.
    "Hello! 😀😀 How are you? 😀": ["Hello! 😀😀 ", "How are you? 😀"],
    "... and so on. Ok.": ["... and so on. ", "Ok."],
    "Ok. \u200b\x00 - * - Next.": ["Ok. \u200b\x00 - * - ", "Next."],
    "1️⃣! Hi. There.": ["1️⃣! Hi. ", "There."],
}

OTHER_LANGUAGES = [
    ("zh", "你好。今天怎么样？好！“他说。”她走了。", ["你好。", "今天怎么样？", "好！", "“他说。”", "她走了。"]),
    ("zh", "他说……然后走了。３．１４是数字。", ["他说……然后走了。", "３．１４是数字。"]),
    ("ja", "「行く。」と言った。次。", ["「行く。」と言った。", "次。"]),
    ("hi", "यह है। वह है॥ हाँ।", ["यह है। ", "वह है॥ ", "हाँ।"]),
    ("ar", "ما هذا؟ نعم. لا", ["ما هذا؟ ", "نعم. ", "لا"]),
    ("ur", "یہ ہے۔ وہ ہے۔", ["یہ ہے۔ ", "وہ ہے۔"]),
    ("de-DE", "Am 3. Mai kam z.B. Dr. Rot. Der 2. Weltkrieg.", ["Am 3. Mai kam z.B. Dr. Rot. ", "Der 2. Weltkrieg."]),
    ("de", "Er rief: „Halt.“ Dann ging er.", ["Er rief: „Halt.“ ", "Dann ging er."]),
    ("fr", "Ça va ? « Oui. » Puis M. Dupont.", ["Ça va ? ", "« Oui. » ", "Puis M. Dupont."]),
    ("es", "¿Qué? ¡No! Sí. No. Creo.", ["¿Qué? ", "¡No! ", "Sí. ", "No. ", "Creo."]),
    ("el", "Πού είσαι; Εδώ.", ["Πού είσαι; ", "Εδώ."]),
    ("en", "Here; There.", ["Here; There."]),
    ("ru", "Это А. С. Пушкин. Да.", ["Это А. С. Пушкин. ", "Да."]),
    ("ru", "Это так, т.е. верно. Он тут.", ["Это так, т.е. верно. ", "Он тут."]),
    ("xx", "One. Two.", ["One. ", "Two."]),
]


def segmented(pieces: list[str], language: str = "en") -> list[str]:
    """Return the texts of all segments of text that arrives in these pieces."""
    buffer = SegmentBuffer(language=language)
    segments = [segment for piece in pieces for segment in buffer.write(piece)]
    return [segment.text for segment in segments + buffer.flush()]


@pytest.mark.parametrize(("text", "expected"), SENTENCES.items())
def test_english_text_is_cut_into_its_sentences(text: str, expected: list[str]) -> None:
    """Whole or one character at a time, text becomes the sentences that a reader sees."""
    actual = segmented([text]), segmented(list(text))

    assert (expected, expected) == actual


@pytest.mark.parametrize(("language", "text", "expected"), OTHER_LANGUAGES)
def test_text_in_another_language_is_cut_into_its_sentences(language: str, text: str, expected: list[str]) -> None:
    """Each script's stops and each language's abbreviations are known."""
    actual = segmented([text], language), segmented(list(text), language)

    assert (expected, expected) == actual


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["Hello.", " T"], [[], ["Hello. "]]),
        (["Dr.", " Smith", " left"], [[], [], []]),
        (["It is 3.", "14"], [[], []]),
        (["The U.S.", " Army"], [[], []]),
        (["In the U.S.", " He", " left"], [[], [], ["In the U.S. "]]),
        (["Hi.\n", "\n"], [[], ["Hi.\n\n"]]),
        (["你好。", "今"], [[], ["你好。"]]),
        (["Go!", '"', " he"], [[], [], []]),
        (["Yes! ", "😀", " And"], [[], [], ["Yes! 😀 "]]),
        (["One. Two. Th"], [["One. ", "Two. "]]),
    ],
)
def test_segment_leaves_as_soon_as_it_is_certain(pieces: list[str], expected: list[list[str]]) -> None:
    """A sentence waits for what could still change it, and not for more."""
    buffer = SegmentBuffer(language="en")
    actual = [[segment.text for segment in buffer.write(piece)] for piece in pieces]

    assert expected == actual


def test_flush_speaks_what_waits_and_text_goes_on_behind_it() -> None:
    """A flush makes a segment of an unfinished sentence; offsets go on in bytes."""
    buffer = SegmentBuffer(language="en")
    buffer.write("Ünd dann")
    first = buffer.flush()
    last = [*buffer.write(" weiter"), *buffer.flush(), *buffer.flush()]

    assert [
        Segment(text="Ünd dann", text_start=0, text_end=9),
        Segment(text=" weiter", text_start=9, text_end=16),
    ] == first + last


def test_waiting_text_is_what_no_segment_holds() -> None:
    """The buffer tells what waits, in characters and in bytes."""
    buffer = SegmentBuffer(language="en")
    buffer.write("Fine. Ünd")

    assert ("Ünd", 4) == (buffer.waiting_text, buffer.waiting_bytes)


def test_repr_shows_what_was_cut_and_what_waits() -> None:
    """The state is visible in one line."""
    buffer = SegmentBuffer(language="en-GB")
    buffer.write("Fine. And")

    assert "<SegmentBuffer en 6 bytes cut | 3 bytes waiting>" == repr(buffer)


def test_without_aggregation_each_write_is_a_segment() -> None:
    """The client's own pieces are kept; what says nothing joins the next piece, or the flush."""
    buffer = SegmentBuffer(language="en", aggregate=False)
    pieces = ["Hello, wor", "ld. Bye.", " ", "😀", "Next", "..."]
    written = [[segment.text for segment in buffer.write(piece)] for piece in pieces]
    flushed = [segment.text for segment in buffer.flush()]

    assert [["Hello, wor"], ["ld. Bye."], [], [], [" 😀Next"], [], ["..."]] == [*written, flushed]


def test_without_aggregation_a_long_write_is_still_cut() -> None:
    """The limit on a segment holds in either mode, for text with nothing to say as well."""
    words, dots = SegmentBuffer(language="en", aggregate=False), SegmentBuffer(language="en", aggregate=False)
    lengths = [len(segment.text) for segment in words.write("word " * 130)]
    held = [len(segment.text) for piece in in_pieces("." * 650, 10) for segment in dots.write(piece)]

    assert ([300, 300, 50], [300, 300], 50) == (lengths, held, dots.waiting_bytes)


@pytest.mark.parametrize("gap", [" " * 30, "\U0001f1e9\U0001f1ea" * 12 + " "])
def test_gap_behind_a_late_stop_is_cut_at_the_limit(gap: str) -> None:
    """What follows the stop of an almost too long sentence does not make it too long, nor is an emoji torn."""
    actual = segmented(["x" * 289 + "." + gap + "Next."])

    assert ["x" * 289 + "." + gap[:10], gap[10:] + "Next."] == actual


@pytest.mark.parametrize("text", [" ", "\n\n", "...", "😀", "\x00\x07", "?! — “”", "\u200d\ufe0f", "1️⃣"])
def test_text_with_nothing_to_say_waits_and_is_covered(text: str) -> None:
    """Alone, it becomes a segment only by a flush, and says that it is not speakable."""
    buffer = SegmentBuffer(language="en")
    written, flushed = buffer.write(text), buffer.flush()

    assert ([], [text], False) == (written, [segment.text for segment in flushed], is_speakable(text))


@pytest.mark.parametrize(
    "unit", ["word ", "Hi there. ", ". ", "\n", "a", "😀", "你好。", "e.g. ", "Mr. X. ", "! ", ";"]
)
def test_work_for_each_character_does_not_grow_with_the_text(unit: str) -> None:
    """What is searched is not searched again: each character takes a few calls, and no more than a segment waits."""
    short, _ = _calls_and_waiting(unit, 2_048)
    long, waiting = _calls_and_waiting(unit, 8_192)

    assert long < 4.4 * short
    assert long < 80 * 8_192
    assert waiting <= 300 + 3 * LOOK_AHEAD


def _calls_and_waiting(unit: str, length: int) -> tuple[int, int]:
    """Return the calls made for a text of this length, and the most characters that waited."""
    buffer = SegmentBuffer(language="en")
    text = (unit * length)[:length]
    calls = 0
    waiting = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    for character in text:
        sys.setprofile(count)
        buffer.write(character)
        sys.setprofile(before)
        waiting = max(waiting, len(buffer.waiting_text))
    return calls, waiting
