"""An utterance's audio in steps: silence before speech goes, speech stays whole, and spans tell where it is."""

import numpy as np
import pytest

from tests.fakes.fake_watermarker import PlainEncoder
from tests.fakes.spoken_in_pieces import PreparedSpeech
from tts_service.speech.pipeline import (
    EMPTY_SECONDS,
    UtteranceAudio,
    estimated_samples,
)
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ, VOICE, AudioFormat, EncodedPiece, Encoding, Segment, Waveform

HERE = Segment(text="Here.", text_start=0, text_end=5)
LEASED = {VOICE: object()}
FLOATS = AudioFormat(encoding=Encoding.PCM_F32LE)


def loud(count: int) -> Waveform:
    """Return speech, all of it audible."""
    return np.full(count, 0.5, np.float32)


def quiet(count: int) -> Waveform:
    """Return silence."""
    return np.zeros(count, np.float32)


def audio_of(speech: PreparedSpeech, audio_format: AudioFormat = FLOATS) -> UtteranceAudio:
    """Return an utterance that is spoken so."""
    return UtteranceAudio(audio_format, lambda: speech)


def drained(audio: UtteranceAudio) -> list[EncodedPiece]:
    """Return every piece that can be made now."""
    pieces = []
    while (piece := audio.next_piece(PlainEncoder())) is not None:
        pieces.append(piece)
    return pieces


def spoken(audio: UtteranceAudio, segment: Segment = HERE) -> tuple[int, int]:
    """Speak a segment to its end; return its span."""
    current = audio.begin_segment(segment, 0)
    audio.begin_sound(current)
    while not current.ended:
        audio.advance(current, current.speech.stages[0], LEASED)
    return audio.span(current)


def test_segment_of_silence_is_nothing() -> None:
    """Silence alone is no speech: the segment has no audio, and no pause after it."""
    audio = audio_of(PreparedSpeech([quiet(5_000), quiet(5_000)]))

    assert (0, 0) == spoken(audio)


def test_silence_within_speech_stays() -> None:
    """Only what leads to speech is taken away: pauses between words are part of it."""
    audio = audio_of(PreparedSpeech([loud(1_000), quiet(5_000), loud(1_000)]))

    assert spoken(audio)[1] >= 7_000


def test_speech_can_be_heard_before_its_segment_has_ended() -> None:
    """Pieces leave while the segment is still spoken."""
    audio = audio_of(PreparedSpeech([loud(24_000), loud(24_000)]))
    current = audio.begin_segment(HERE, 0)
    audio.advance(current, current.speech.stages[0], LEASED)
    early = sum(piece.sample_count for piece in drained(audio))

    assert not current.ended
    assert 0 < early < 24_000


def test_pause_after_a_segment_brings_all_its_speech_out() -> None:
    """Without a further word, everything audible can be made into pieces."""
    audio = audio_of(PreparedSpeech([loud(10_000)]))
    spoken(audio)
    samples = np.concatenate([np.frombuffer(piece.data, np.float32) for piece in drained(audio)])

    assert 10_000 == int((np.abs(samples) > 0.1).sum())


def test_span_is_an_estimate_until_the_segment_has_ended() -> None:
    """While it is spoken, a segment is taken to be as long as its text; afterwards its span is exact."""
    text = "A sentence that takes about four seconds to say aloud, all in all."
    segment = Segment(text=text, text_start=0, text_end=len(text))
    audio = audio_of(PreparedSpeech([loud(2_000), loud(2_000)]))
    current = audio.begin_segment(segment, 0)
    audio.advance(current, current.speech.stages[0], LEASED)
    guessed = audio.span(current)
    audio.advance(current, current.speech.stages[0], LEASED)

    assert (0, estimated_samples(text)) == guessed
    assert 4_000 <= audio.span(current)[1] < estimated_samples(text)


def test_span_is_at_the_rate_of_the_format() -> None:
    """Clients count in their own samples."""
    audio = audio_of(PreparedSpeech([loud(2_400)], [loud(2_400)]), AudioFormat(sample_rate_hertz=8_000))
    first, second = spoken(audio), spoken(audio)

    assert first[1] == second[0]
    assert 800 <= first[1] < MODEL_SAMPLE_RATE_HERTZ


def test_discard_cancels_the_segment_that_is_spoken() -> None:
    """A segment under way hears of it at once, also within a step."""
    speech = PreparedSpeech([loud(100), loud(100)])
    audio = audio_of(speech)
    audio.begin_segment(HERE, 0)
    audio.discard()

    assert audio.discarded
    assert speech.begun[0].cancelled


def test_model_is_asked_only_when_the_first_segment_begins() -> None:
    """An utterance that is cancelled before it is spoken loads no voice."""
    asked: list[int] = []

    def begin() -> PreparedSpeech:
        asked.append(1)
        return PreparedSpeech([loud(100)], [loud(100)])

    audio = UtteranceAudio(FLOATS, begin)
    before = len(asked)
    spoken(audio)
    spoken(audio)

    assert (0, 1) == (before, len(asked))


@pytest.mark.parametrize("segments", [0, 1])
def test_audio_without_speech_is_a_short_silence(segments: int) -> None:
    """Whether no segment came or one that had nothing to say, the listener gets a short silence."""
    audio = audio_of(PreparedSpeech([quiet(3_000)]))
    for _ in range(segments):
        spoken(audio)
    audio.finish()
    samples = sum(piece.sample_count for piece in [*drained(audio), audio.last_piece()])

    assert round(EMPTY_SECONDS * MODEL_SAMPLE_RATE_HERTZ) == samples


def test_discard_cancels_before_it_refuses() -> None:
    """A lane that takes part in a burst in between would lose its tokens, and be chosen for the next all the same."""
    audio = audio_of(PreparedSpeech([loud(24_000)]))
    speech, seen = audio.begin_segment(HERE, 0).speech, list[bool]()
    speech.cancel = lambda: seen.append(audio.discarded)  # type: ignore[method-assign]  # The test's own object.
    audio.discard()

    assert ([False], True) == (seen, audio.discarded)


@pytest.mark.parametrize(("carried", "expected"), [(True, MODEL_SAMPLE_RATE_HERTZ), (False, 8_000)])
def test_pieces_say_what_their_samples_are_counted_at(*, carried: bool, expected: int) -> None:
    """Where somebody else codes they are the model's, whatever the client's format: as much is there to hear."""
    telephone = AudioFormat(encoding=Encoding.MULAW, sample_rate_hertz=8_000)
    speech = PreparedSpeech([loud(24_000)])
    audio = UtteranceAudio(telephone, lambda: speech, carried=carried)
    spoken(audio)
    audio.finish()
    pieces = [*drained(audio), audio.last_piece()]

    assert expected == audio.piece_rate_hertz
    assert pytest.approx(1.0, abs=0.7) == sum(each.sample_count for each in pieces) / audio.piece_rate_hertz


def test_discarded_segment_takes_no_step() -> None:
    """A step that was about to begin when its utterance was discarded computes nothing, and brings no piece."""
    speech = PreparedSpeech([loud(24_000), loud(24_000)])
    audio = audio_of(speech)
    current = audio.begin_segment(HERE, 0)
    audio.advance(current, current.speech.stages[0], LEASED)
    audio.discard()
    speech.begun[0].cancelled = False
    audio.advance(current, current.speech.stages[0], LEASED)

    assert "1 pieces" in repr(speech.begun[0])
    assert [] == drained(audio)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("This sentence of forty-five letters is spoken.", 3.0),
        ("今天天气很好。我们去公园吧。", 3.2),
        ("1234567890", 3.0),
    ],
)
def test_estimate_fits_scripts_whose_characters_are_syllables(text: str, seconds: float) -> None:
    """A character of Chinese takes four times as long as a letter, and so does a digit."""
    assert seconds == pytest.approx(estimated_samples(text) / MODEL_SAMPLE_RATE_HERTZ, rel=0.4)
