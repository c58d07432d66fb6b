"""The schedule of decodes: a pure function."""

from hypothesis import given
from hypothesis import strategies as st

from tts_service.speech.chunked_segment import scheduled_chunks
from tts_service.speech.mel import HELD_FRAMES
from tts_service.speech.mel_chunks import ChunkSchedule, chunk_tokens, tail_tokens
from tts_service.speech.mel_flow import mel_frames
from tts_service.speech.watermark import LOOK_AHEAD_SAMPLES, block_end
from tts_service.speech.waveform import FIRST_RIGHT_FRAMES
from tts_service.speech.waveform_source import SAMPLES_PER_FRAME


def test_chunk_tokens_default_schedule_starts_small_and_grows_to_its_cap() -> None:
    """The first decodes bring little, so that speech begins at once; later ones two seconds each."""
    assert [24, 12, 18, 27, 40, 50, 50] == [chunk_tokens(ChunkSchedule(), decodes) for decodes in range(7)]


def test_first_chunk_is_long_enough_to_be_heard() -> None:
    """Its sound fills the watermark's first two blocks and its look-ahead, with 40 ms to spare for a soft onset."""
    heard_frames = mel_frames(ChunkSchedule().first_tokens, final=False) - HELD_FRAMES - FIRST_RIGHT_FRAMES
    needed = block_end(block_end(0)) + LOOK_AHEAD_SAMPLES

    assert heard_frames * SAMPLES_PER_FRAME >= needed + 960


@given(
    schedule=st.builds(
        ChunkSchedule,
        first_tokens=st.integers(1, 50),
        next_tokens=st.integers(1, 50),
        growth=st.floats(1.0, 4.0),
        max_tokens=st.integers(50, 100),
    ),
    decodes=st.integers(1, 10_000),
)
def test_chunk_tokens_never_shrink_and_never_exceed_the_cap(schedule: ChunkSchedule, decodes: int) -> None:
    """After the first, each chunk is at least as long as the one before, and at most the cap."""
    now, later = chunk_tokens(schedule, decodes), chunk_tokens(schedule, decodes + 1)

    assert 1 <= now <= later <= schedule.max_tokens


@given(count=st.integers(0, 300), tail=st.integers(0, 20))
def test_scheduled_chunks_keep_every_token_in_order(count: int, tail: int) -> None:
    """Cutting loses nothing, and only the last chunk is of another length than the schedule says."""
    schedule = ChunkSchedule(tail_tokens=tail)
    chunks = scheduled_chunks(range(count), schedule)
    last = len(chunks) - 1

    assert list(range(count)) == [token for chunk in chunks for token in chunk]
    assert [chunk_tokens(schedule, place) for place in range(last)] == [len(each) for each in chunks[:-1]]
    assert len(chunks[-1]) <= chunk_tokens(schedule, last) + tail_tokens(schedule, last)
    assert last == 0 or len(chunks[-1]) > (tail if last > 1 else 0)
