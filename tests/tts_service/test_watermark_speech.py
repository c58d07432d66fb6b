"""The stream with Perth's real weights on real speech: equal to the whole clip's mark, and found again."""

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.real_watermarker import detector, encoder
from tests.fakes.spoken import spoken
from tts_service.speech.watermark import Verdict, WatermarkStream, detect, pause, pause_samples
from tts_service.types import Waveform

SENTENCES = (
    ("At 5 p.m. the team left; nobody knew why.", 1.0),
    ("It was soft, almost silent, like falling snow.", 0.02),
    ("Stop!", 2.5),
    ("Numbers: 1, 22, and 333.", 0.3),
)
CLEAN_SCORE = 0.4
"""Clean speech was seen to score up to 0.33 (one second of it, after mu-law at 8 kHz)."""


def streamed(pieces: list[Waveform]) -> Waveform:
    """Return the streamed mark of audio that comes in these pieces."""
    stream = WatermarkStream()
    blocks = []
    for piece in pieces:
        stream.write(piece)
        while (block := stream.next_blocks(encoder())) is not None:
            blocks.append(block)
    stream.finish()
    while (block := stream.next_blocks(encoder())) is not None:
        blocks.append(block)
    return np.concatenate([*blocks, np.zeros(0, np.float32)])


def paragraph() -> list[Waveform]:
    """Return loud and soft sentences with the pauses between them, as the pipeline writes them."""
    pieces: list[Waveform] = []
    written = 0
    for text, gain in SENTENCES:
        speech = spoken(text, gain=gain)
        written += len(speech)
        count = pause_samples(written)
        pieces += [speech, pause(count, start=written)]
        written += count
    return pieces


CLIPS = {
    "sentence": lambda: spoken(SENTENCES[0][0]),
    "paragraph": lambda: np.concatenate(paragraph()),
    "other seed": lambda: spoken("Is it 12:30 already?", seed=7),
    "clipped": lambda: spoken("Is it 12:30 already?", gain=20.0),
    "s16": lambda: (np.round(spoken(SENTENCES[3][0]) * 32_767) / 32_768).astype(np.float32),
}


@pytest.mark.parametrize("name", CLIPS)
def test_stream_of_speech_equals_whole_clip(name: str) -> None:
    """On speech, loud or soft, with pauses or silence, the streamed mark is the whole clip's to 1e-5."""
    clip = CLIPS[name]()

    output = streamed([clip])

    assert len(clip) == len(output)
    assert float(np.abs(encoder().mark(clip) - output).max()) <= 1e-5


@given(cuts=st.lists(st.integers(0, 36_000), max_size=6), length=st.integers(0, 36_000))
@settings(deadline=None, max_examples=12)
def test_stream_of_speech_any_pieces_has_the_same_bits(cuts: list[int], length: int) -> None:
    """With the real encoder too, any pieces give the same bits and any length comes out to the sample."""
    clip = np.concatenate(paragraph())[30_000 : 30_000 + length]

    output = streamed(np.split(clip, sorted(min(cut, length) for cut in cuts)))

    assert length == len(output)
    assert streamed([clip]).tobytes() == output.tobytes()


@pytest.mark.parametrize("length", [0, 1, 239, 240, 241, 767, 959, 960, 961, 4_799, 5_280, 5_281])
def test_stream_of_short_speech_equals_whole_clip(length: int) -> None:
    """Even shorter than a frame or an FFT, as many samples come out as went in, equal to the whole clip's mark."""
    clip = spoken(SENTENCES[0][0])[2_000 : 2_000 + length]

    output = streamed([clip])

    assert length == len(output)
    assert np.allclose(encoder().mark(clip), output, rtol=0, atol=1e-5)


@pytest.mark.parametrize("text", ["Hello there.", "See you on Monday.", SENTENCES[0][0], SENTENCES[1][0]])
@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_detect_streamed_speech_is_present(text: str, gain: float) -> None:
    """Streamed speech of a second or more scores 0.99 at least, both as samples and after 16 bits."""
    clip = spoken(text, gain=gain)
    assert len(clip) >= 24_000
    output = streamed([clip])
    quantised = (np.round(np.clip(output, -1, 1) * 32_767) / 32_768).astype(np.float32)

    found = [detect(detector(), samples) for samples in (output, quantised)]

    assert [Verdict.PRESENT] * 2 == [each.verdict for each in found]
    assert min(each.score or 0.0 for each in found) >= 0.99
    assert detector().score(output) >= 0.99


@pytest.mark.parametrize("text", ["Hello there.", "See you on Monday.", SENTENCES[0][0], SENTENCES[1][0]])
@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_detect_clean_speech_is_absent(text: str, gain: float) -> None:
    """Speech that was never marked is not taken for marked, however soft it is."""
    found = detect(detector(), spoken(text, gain=gain))

    assert Verdict.ABSENT == found.verdict
    assert found.score is not None
    assert found.score < CLEAN_SCORE


def telephone(samples: Waveform) -> Waveform:
    """Return what mu-law at 8 kHz leaves, back at 24 kHz."""
    narrow = np.clip(soxr.resample(samples, 24_000, 8_000), -1, 1)
    coded = np.round(np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log1p(255) * 127) / 127
    decoded = np.sign(coded) * (256 ** np.abs(coded) - 1) / 255
    back: Waveform = soxr.resample(decoded.astype(np.float32), 8_000, 24_000)
    return back


@pytest.mark.parametrize("text", ["Hello there.", SENTENCES[0][0]])
def test_detect_after_telephone_still_tells_apart(text: str) -> None:
    """Mu-law at 8 kHz neither removes the mark nor makes one."""
    clip = spoken(text)

    marked, clean = (detect(detector(), telephone(samples)) for samples in (streamed([clip]), clip))

    assert (Verdict.PRESENT, Verdict.ABSENT) == (marked.verdict, clean.verdict)
    assert (marked.score or 0.0) >= 0.95


def test_mark_of_pause_stays_soft() -> None:
    """Nobody hears a marked pause: it stays below -80 dBFS."""
    output = streamed([pause(48_000, start=0)])

    assert float(np.abs(output).max()) < 1e-4
