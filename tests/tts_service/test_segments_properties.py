"""What holds for the segments of any text that arrives in any pieces."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.arrivals import cut_at, cuts
from tts_service.speech.segments import SegmentBuffer
from tts_service.types import Segment

LIMIT = 60

# Pieces that make hard cases likely, and any characters at all (lone surrogates cannot arrive: text is UTF-8).
ATOMS = st.sampled_from(
    [
        *("Dr.", "U.S.", "e.g.", "No.", "St.", "etc.", "J.", "p.m.", "Mai", "he", "She", "word", "a"),
        *("5", "3.14", "1.", "12)", "\u0661", "https://a.b/c.", "x@y.z", "long" * 20),
        *(" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u2028", "\u2029"),
        *(".", "..", "...", "!", "?", "?!", "\u2026", "\u3002", "\uff01", "\uff0e", "\u061f", "\u0964", "\u06d4"),
        *(",", ";", ":", "-", "\u2014", "*", "_", "#", '"', "'", "(", ")", "\u201c", "\u201d", "\u300c", "\u300d"),
        *(
            "\u00ab",
            "\u00bb",
            "\u3068",
            "\U0001f600",
            "\U0001f468\u200d\U0001f469",
            "\U0001f1e9\U0001f1ea",
            "1\ufe0f\u20e3",
        ),
        *("e\u0301", "\u0915\u094d\u0937", "\u0e17\u0e35\u0e48", "\uac00", "\u200f", "\u200d", "\x00", "\ufe0f"),
    ]
)
TEXTS = st.lists(ATOMS | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=50).map("".join)
LANGUAGES = st.sampled_from(["en", "de-DE", "fr", "zh-Hant", "ja", "hi", "ar", "el", "ru", "my", "hy", "xx"])


@st.composite
def arrivals(draw: st.DrawFn) -> list[str]:
    """Return a text in pieces."""
    text = draw(TEXTS)
    return cut_at(text, draw(cuts(len(text))))


def segmented(pieces: list[str], language: str, *, aggregate: bool = True) -> list[Segment]:
    """Return all segments of text that arrives in these pieces."""
    buffer = SegmentBuffer(language=language, aggregate=aggregate, max_segment_characters=LIMIT)
    segments = [segment for piece in pieces for segment in buffer.write(piece)]
    return segments + buffer.flush()


@settings(deadline=None, max_examples=400)
@given(pieces=arrivals(), language=LANGUAGES)
def test_segments_do_not_depend_on_how_text_arrives(pieces: list[str], language: str) -> None:
    """Without a flush, the pieces of a text give the segments of the whole, and so does one character at a time."""
    whole = "".join(pieces)
    expected = segmented([whole], language)

    assert (expected, expected) == (segmented(pieces, language), segmented(list(whole), language))


@settings(deadline=None, max_examples=200)
@given(pieces=arrivals(), flushes=st.sets(st.integers(0, 12)), aggregate=st.booleans(), language=LANGUAGES)
def test_segments_are_the_text_byte_for_byte(
    pieces: list[str], flushes: set[int], language: str, *, aggregate: bool
) -> None:
    """Every byte is in exactly one segment, in order, whatever was flushed; and no segment is empty or too long."""
    buffer = SegmentBuffer(language=language, aggregate=aggregate, max_segment_characters=LIMIT)
    segments: list[Segment] = []
    for index, piece in enumerate(pieces):
        segments += buffer.write(piece)
        segments += buffer.flush() if index in flushes else []
    segments += buffer.flush()
    encoded = "".join(pieces).encode()

    assert all(segment.text.encode() == encoded[segment.text_start : segment.text_end] for segment in segments)
    assert all(before.text_end == after.text_start for before, after in pairwise(segments))
    assert all(0 < len(segment.text) <= LIMIT for segment in segments)
    assert len(encoded) == (segments[-1].text_end if segments else 0)
    assert buffer.waiting_bytes == 0


@settings(deadline=None, max_examples=200)
@given(pieces=arrivals(), language=LANGUAGES)
def test_what_waits_is_bounded(pieces: list[str], language: str) -> None:
    """No more waits than a segment and the look-ahead behind it."""
    buffer = SegmentBuffer(language=language, max_segment_characters=LIMIT)
    waiting = 0
    for piece in pieces:
        buffer.write(piece)
        waiting = max(waiting, len(buffer.waiting_text))

    assert waiting <= LIMIT + 3 * 40
