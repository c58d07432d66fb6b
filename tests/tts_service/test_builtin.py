"""The built-in voice: the same speech as hibari's own, whatever it is given to read."""

import random

import hibari
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tts_service.models import builtin
from tts_service.models.builtin import HEART, PHONEMES_AT_ONCE, BuiltinVoice, lexicon_tensors, readable
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ

PARAGRAPH = (
    "Dr. Smith paid $9.99 on the 3rd of March 2024, at 7:30 pm. “Nobody reads this,” she said; 1,250 people did! "
    "Zorblax and qwyjibo live in the neighbourhood, e.g. at 42 Baker St., don't they? I read what you have read."
)


@pytest.fixture(scope="module")
def voice() -> BuiltinVoice:
    """Return the voice."""
    return BuiltinVoice(lexicon_tensors())


@pytest.fixture(scope="module")
def upstream() -> hibari.Hibari:
    """Return hibari's own voice, with dictionaries of its own."""
    return hibari.Hibari()


def test_voice_reads_as_hibari_does(voice: BuiltinVoice, upstream: hibari.Hibari) -> None:
    """String tables change nothing in how a text is read."""
    assert tuple(upstream.phonemize(PARAGRAPH)) == voice.phonemes(PARAGRAPH)


def test_voice_knows_the_words_that_hibari_knows(voice: BuiltinVoice, upstream: hibari.Hibari) -> None:
    """Thousands of its words, taken at random, are read the same."""
    words = random.Random(1).sample(sorted(upstream.g2p.lexicon.golds.d), 3_000)
    text = " ".join(words)

    assert "".join(upstream.phonemize(text)).replace(" ", "") == "".join(voice.phonemes(text)).replace(" ", "")


def test_voice_sounds_as_hibari_does(voice: BuiltinVoice, upstream: hibari.Hibari) -> None:
    """Without an arena of its own, onnxruntime computes the same samples."""
    text = "Good morning. How are you?"
    expected = upstream(text, 1.1, 7)
    actual = voice.synthesize(text, seed=7, speaking_rate=1.1)

    assert (np.float32, True) == (actual.dtype, np.array_equal(expected, actual))


def test_voice_with_the_same_seed_says_the_same(voice: BuiltinVoice) -> None:
    """Text, seed and rate decide every sample; another seed is another breath."""
    text = "The same again."
    first, again, other = (voice.synthesize(text, seed=seed, speaking_rate=1.0) for seed in (3, 3, 2**63 - 1))

    assert (True, False, len(first)) == (np.array_equal(first, again), np.array_equal(first, other), len(other))


def test_voice_speaks_faster_when_it_is_told_to(voice: BuiltinVoice) -> None:
    """Twice the rate is about half the time."""
    text = "This is a sentence of about ten words, no more."
    slow, fast = (len(voice.synthesize(text, seed=1, speaking_rate=rate)) for rate in (0.5, 2.0))

    assert 3.0 < slow / fast < 5.0


@pytest.mark.parametrize("text", ["", "  \n", "😀", "你好", "\u200e", "\x00\x01"])
def test_text_with_nothing_to_say_gives_no_samples(voice: BuiltinVoice, text: str) -> None:
    """What cannot be said in English is nobody's error."""
    assert (0, np.float32) == (
        len(voice.synthesize(text, seed=1, speaking_rate=1.0)),
        voice.synthesize(text, seed=1, speaking_rate=1.0).dtype,
    )


@pytest.mark.parametrize(
    "text",
    ["9" * 4_000, "-" + "1" * 40 + "th", "1," * 60 + "1", "①②", "ﬁ ① İstanbul", "1.2.3.4.5", "$.", "[x](y", "\ud800"],
    ids=["digits", "ordinal", "groups", "circled", "ligature", "dots", "dollar", "link", "surrogate"],
)
def test_text_that_trips_hibari_is_read_without_a_word_lost(voice: BuiltinVoice, text: str) -> None:
    """What hibari's rules fail on is put into words that they know."""
    with capture_logs() as logs:
        voice.phonemes(text)

    assert [] == logs


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60) | st.text(st.sampled_from("0123456789.,-$€% thsedgA'\u2019①½İ:/"), max_size=30))
def test_any_text_can_be_read(voice: BuiltinVoice, text: str) -> None:
    """No text is an error, and no piece is longer than what is spoken at once."""
    pieces = voice.phonemes(text)

    assert all(len(piece) <= PHONEMES_AT_ONCE for piece in pieces)


def test_word_that_cannot_be_read_leaves_the_others(voice: BuiltinVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in one word is logged, without the word, and the others are heard."""
    reads = voice._hibari.phonemize

    def failing(text: str) -> list[str]:
        if "bad" in text:
            raise IndexError
        return list(reads(text))

    monkeypatch.setattr(voice._hibari, "phonemize", failing)
    with capture_logs() as logs:
        pieces = voice.phonemes("good bad words")

    assert (*reads("good"), *reads("words")) == pieces
    assert [("word_not_readable", 3)] == [(each["event"], each["characters"]) for each in logs]


def test_long_sentence_is_spoken_in_pieces(voice: BuiltinVoice) -> None:
    """Without a clause to split at, words are the last resort; none is lost."""
    pieces = voice.phonemes("word " * 200)

    assert len(pieces) > 1
    assert all(len(piece) <= PHONEMES_AT_ONCE for piece in pieces)
    assert 200 == sum(piece.count("ɜ") for piece in pieces)


@pytest.mark.parametrize("text", [PARAGRAPH, "123456789012345 items", "½ cup, 2² and ٣"])
def test_ordinary_text_is_not_changed(text: str) -> None:
    """Only what hibari cannot read is put otherwise; powers and other scripts' digits count as digits."""
    expected = text.replace("²", "2")

    assert expected == readable(text)


def test_voice_says_what_it_is(voice: BuiltinVoice) -> None:
    """Nobody takes it for Chatterbox."""
    assert ("heart", "hibari", ("en-US", "en"), MODEL_SAMPLE_RATE_HERTZ, True) == (
        voice.facts.voice_id,
        voice.facts.model,
        voice.facts.languages,
        voice.sample_rate_hertz,
        "not Chatterbox" in HEART.description,
    )


def test_forgetting_empties_what_outlives_the_voice(voice: BuiltinVoice) -> None:
    """The windows of hibari are per module of Python, not per voice."""
    voice.synthesize("Hello there.", seed=1, speaking_rate=1.0)
    used = builtin.dsp._ola_norm.cache_info().currsize
    builtin.forget()

    assert (True, 0) == (used > 0, builtin.dsp._ola_norm.cache_info().currsize)
