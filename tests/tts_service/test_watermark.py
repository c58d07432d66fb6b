"""The stream's arithmetic, with a fake encoder: blocks, lengths, pauses and what is held."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.fake_watermarker import FakeEncoder, reaching_mark
from tts_service.errors import Reason, ServiceError
from tts_service.speech.watermark import PAUSE_SAMPLES, WatermarkStream, block_end, pause, pause_samples
from tts_service.types import Waveform


def noise(count: int, seed: int = 0) -> Waveform:
    """Return noise that differs at every sample."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, count).astype(np.float32)


def drained(stream: WatermarkStream, encoder: FakeEncoder) -> list[Waveform]:
    """Return all blocks that the stream gives now."""
    blocks = []
    while (block := stream.next_blocks(encoder)) is not None:
        blocks.append(block)
    return blocks


def streamed(pieces: list[Waveform], encoder: FakeEncoder) -> Waveform:
    """Return the whole output for audio that comes in these pieces, drained after each."""
    stream = WatermarkStream()
    blocks: list[Waveform] = []
    for piece in pieces:
        stream.write(piece)
        blocks += drained(stream, encoder)
    stream.finish()
    blocks += drained(stream, encoder)
    return np.concatenate([*blocks, np.zeros(0, np.float32)])


@given(
    length=st.integers(0, 60_000),
    cuts=st.lists(st.integers(0, 60_000), max_size=8),
)
@settings(deadline=None, max_examples=60)
def test_stream_any_pieces_equals_whole_clip(length: int, cuts: list[int]) -> None:
    """Whatever the length and the pieces, the output is the whole clip's mark, bit for bit and sample for sample."""
    clip = noise(length)
    pieces = np.split(clip, sorted(min(cut, length) for cut in cuts))

    output = streamed(pieces, FakeEncoder())

    assert reaching_mark(clip).tobytes() == output.tobytes()


@given(length=st.integers(0, 30_000), cuts=st.lists(st.integers(0, 30_000), max_size=6))
@settings(deadline=None, max_examples=30)
def test_stream_any_pieces_marks_the_same_windows(length: int, cuts: list[int]) -> None:
    """The encoder is shown the same windows in the same order, so that its rounding cannot depend on the pieces."""
    clip = noise(length)
    at_once, in_pieces = FakeEncoder(), FakeEncoder()
    streamed([clip], at_once)

    streamed(np.split(clip, sorted(min(cut, length) for cut in cuts)), in_pieces)

    assert at_once.windows == in_pieces.windows


@given(speech_end=st.integers(0, 2_000_000))
@settings(deadline=None, max_examples=200)
def test_pause_samples_anywhere_are_short(speech_end: int) -> None:
    """A pause lasts at least 0.2 s and less than 0.35 s, wherever speech ends."""
    count = pause_samples(speech_end)

    assert 4_800 <= count < 8_400


@given(lengths=st.lists(st.integers(1, 20_000), min_size=1, max_size=4))
@settings(deadline=None, max_examples=40)
def test_pause_after_speech_pushes_all_of_it_out(lengths: list[int]) -> None:
    """After each segment and its pause, no sample of speech is withheld, although nothing has been finished."""
    stream, encoder = WatermarkStream(), FakeEncoder()
    written = emitted = 0
    for length in lengths:
        stream.write(noise(length))
        written += length
        speech_end = written
        count = pause_samples(speech_end)
        stream.write(pause(count, start=written))
        written += count
        emitted += sum(map(len, drained(stream, encoder)))

        assert emitted >= speech_end


def test_pause_samples_one_less_withholds_speech() -> None:
    """The pause is as short as the grid allows: with one sample less, the last of the speech would wait."""
    speech_end = block_end(50_000) - 1_000
    stream, encoder = WatermarkStream(), FakeEncoder()
    count = pause_samples(speech_end)
    stream.write(noise(speech_end))
    stream.write(pause(count - 1, start=speech_end))

    emitted = sum(map(len, drained(stream, encoder)))

    assert count > PAUSE_SAMPLES
    assert emitted < speech_end


@given(position=st.integers(0, 1_000_000))
@settings(deadline=None, max_examples=100)
def test_block_end_any_position_is_next_on_a_grid_of_whole_frames(position: int) -> None:
    """Every position lies in one block, and blocks end at whole frames of the encoder."""
    end = block_end(position)

    assert position < end <= position + 3_840
    assert end % 240 == 0
    assert end == block_end(end - 1)


def test_next_blocks_before_look_ahead_is_none() -> None:
    """The first block comes with the sample that completes its look-ahead, and no earlier."""
    stream, encoder = WatermarkStream(), FakeEncoder()
    stream.write(noise(960 + 4_560 - 1))
    early = stream.next_blocks(encoder)
    stream.write(noise(1))
    block = stream.next_blocks(encoder)

    assert early is None
    assert block is not None
    assert len(block) == 960


def test_next_blocks_of_a_backlog_gives_bounded_steps() -> None:
    """However much audio waits, each call marks one window of at most 0.55 s, and the first one two."""
    stream, encoder = WatermarkStream(), FakeEncoder()
    stream.write(noise(240_000))
    windows = []
    for _ in range(3):
        stream.next_blocks(encoder)
        windows.append(len(encoder.windows))

    assert [2, 3, 4] == windows


def test_first_blocks_come_together() -> None:
    """What is heard first lasts for 0.2 s where so much is there."""
    stream, encoder = WatermarkStream(), FakeEncoder()
    stream.write(noise(960 + 3_840 + 4_560))
    block = stream.next_blocks(encoder)

    assert block is not None
    assert 960 + 3_840 == len(block)


def test_ready_says_whether_next_blocks_gives_any() -> None:
    """`ready` is true exactly when `next_blocks` has something, so that no lease is taken in vain."""
    stream, encoder = WatermarkStream(), FakeEncoder()
    said, given_ = [], []
    for step in range(40):
        if step == 30:
            stream.finish()
        elif step < 30:
            stream.write(noise(1_700))
        said.append(stream.ready)
        given_.append(stream.next_blocks(encoder) is not None)

    assert said == given_
    assert True in said[:30]
    assert not said[-1]


def test_stream_without_audio_gives_nothing() -> None:
    """An utterance without a sample has no block."""
    stream = WatermarkStream()
    stream.write(noise(0))
    stream.finish()

    assert stream.next_blocks(FakeEncoder()) is None


@pytest.mark.parametrize("spared", [0, 1, 2])
def test_next_blocks_after_failure_gives_the_same_blocks(spared: int) -> None:
    """A failed step loses nothing: the next one gives what failed, and what was marked in the same step."""
    clip = noise(20_000)
    stream, encoder = WatermarkStream(), FakeEncoder(failures=1, spared=spared)
    stream.write(clip)
    stream.finish()
    first = [] if spared < 2 else [stream.next_blocks(encoder)]
    with pytest.raises(ServiceError):
        stream.next_blocks(encoder)

    output = np.concatenate([*(each for each in first if each is not None), *drained(stream, encoder)])

    assert reaching_mark(clip).tobytes() == output.tobytes()


def test_write_reused_buffer_keeps_what_was_written() -> None:
    """The caller may overwrite its buffer as soon as `write` has returned."""
    buffer = noise(5_000)
    expected = reaching_mark(buffer)
    stream = WatermarkStream()
    stream.write(buffer)
    buffer[:] = 0
    stream.finish()

    output = np.concatenate(drained(stream, FakeEncoder()))

    assert expected.tobytes() == output.tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_write_sample_that_is_no_number_is_our_fault(value: float) -> None:
    """A NaN would leave its window unmarked, so it is refused as the engine's fault."""
    samples = noise(100)
    samples[50] = value

    with pytest.raises(ServiceError) as caught:
        WatermarkStream().write(samples)

    assert Reason.ENGINE_FAULT == caught.value.reason


def test_stream_of_a_long_utterance_holds_little() -> None:
    """What no window needs any more is let go: ten minutes pass through and less than two seconds stay."""
    stream, encoder = WatermarkStream(), FakeEncoder()
    most_held = 0
    for _ in range(600):
        stream.write(noise(24_000))
        drained(stream, encoder)
        most_held = max(most_held, sum(map(len, stream._held)))

    assert most_held < 2 * 24_000


@given(start=st.integers(0, 10_000_000), skipped=st.integers(0, 50), count=st.integers(0, 50))
@settings(deadline=None, max_examples=60)
def test_pause_at_the_same_position_has_the_same_bits(start: int, skipped: int, count: int) -> None:
    """A pause's samples depend on their positions alone, not on where it was begun."""
    whole = pause(skipped + count, start=start)

    assert whole[skipped:].tobytes() == pause(count, start=start + skipped).tobytes()


def test_pause_is_soft_noise_without_zeros() -> None:
    """A pause has -100 dBFS, no digital silence, no offset, and does not repeat itself."""
    samples = pause(48_000, start=123).astype(np.float64)
    level_dbfs = 10 * np.log10(np.mean(samples**2))

    assert abs(level_dbfs + 100) < 0.1
    assert np.count_nonzero(samples) == 48_000
    assert abs(samples.mean()) < 1e-7
    assert len(np.unique(samples)) > 47_000


def test_stream_repr_shows_progress() -> None:
    """The representation says how far the stream is."""
    stream = WatermarkStream()
    stream.write(noise(6_000))
    stream.next_blocks(FakeEncoder())

    assert repr(stream) == "<WatermarkStream 960 of 6000 samples marked | open>"
