"""The session under arbitrary clients: whatever is said in whatever order, the protocol's promises hold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.session_driver import SessionDriver
from tts_service.speech.protocol import (
    AudioChunk,
    CancelUtterance,
    ClientMessage,
    EndUtterance,
    Flush,
    Flushed,
    HalfClose,
    PlaybackPosition,
    SegmentDone,
    TextChunk,
    UtteranceCancelled,
    UtteranceDone,
    UtteranceError,
    UtteranceStarted,
)
from tts_service.speech.session_config import ConfigRequest, Pacing

IDS = st.sampled_from(["a", "b", "c", "d"])
WORDS = st.sampled_from(
    ["Hello", " world. ", "A. B. ", "😀", " ", "Dr. X said no! ", "…", "1. ", "so on and on and on"]
)

MESSAGES: st.SearchStrategy[ClientMessage] = st.one_of(
    st.builds(TextChunk, utterance_id=IDS, text=WORDS),
    st.builds(Flush, utterance_id=IDS, flush_id=st.just("f")),
    st.builds(EndUtterance, utterance_id=IDS),
    st.builds(CancelUtterance, utterance_id=IDS, heard_samples=st.none() | st.integers(0, 100_000)),
    st.builds(PlaybackPosition, utterance_id=IDS, played_samples=st.integers(0, 200_000)),
)
STEPS = st.lists(st.tuples(MESSAGES, st.sampled_from([0.0, 0.0, 0.3, 2.5])), max_size=30)


def played_out(driver: SessionDriver, steps: list[tuple[ClientMessage, float]]) -> None:
    """Say everything, then close and let the session come to its end."""
    for message, seconds in steps:
        driver.say(message)
        if seconds:
            driver.wait(seconds, step_seconds=seconds)
    driver.say(HalfClose())
    for _ in range(400):
        if driver.session.ended:
            break
        driver.wait(0.5, step_seconds=0.5)


@settings(deadline=None, max_examples=60)
@given(steps=STEPS, pacing=st.sampled_from(Pacing))
def test_session_any_client_always_comes_to_a_good_end(
    steps: list[tuple[ClientMessage, float]], pacing: Pacing
) -> None:
    """After a half-close every session ends, without an error of its own."""
    driver = SessionDriver(ConfigRequest(pacing=pacing))
    played_out(driver, steps)

    assert (True, None) == (driver.session.ended, driver.session.end_error)


@settings(deadline=None, max_examples=60)
@given(steps=STEPS, pacing=st.sampled_from(Pacing))
def test_session_any_client_gets_each_utterance_whole_and_closed_once(
    steps: list[tuple[ClientMessage, float]], pacing: Pacing
) -> None:
    """Audio is gap-free, nothing follows a close, text spans are contiguous, utterances do not overlap."""
    driver = SessionDriver(ConfigRequest(pacing=pacing))
    played_out(driver, steps)
    offsets: dict[str, int] = {}
    text_ends: dict[str, int] = {}
    started: list[str] = []
    closed: set[str] = set()
    for message in driver.messages:
        match message:
            case UtteranceStarted(utterance_id=utterance_id):
                assert set(started) <= closed
                started.append(utterance_id)
            case AudioChunk(utterance_id=utterance_id):
                assert utterance_id == started[-1]
                assert utterance_id not in closed
                assert offsets.get(utterance_id, 0) == message.sample_offset
                offsets[utterance_id] = message.sample_offset + message.piece.sample_count
            case SegmentDone(utterance_id=utterance_id):
                assert text_ends.get(utterance_id, 0) == message.text_start
                text_ends[utterance_id] = message.text_end
                assert offsets.get(utterance_id, 0) >= message.sample_end
            case Flushed(utterance_id=utterance_id):
                assert utterance_id not in closed
            case (
                UtteranceDone(utterance_id=utterance_id)
                | UtteranceCancelled(utterance_id=utterance_id, already_done=False)
            ):
                assert utterance_id not in closed
                closed.add(utterance_id)
            case UtteranceError(utterance_id=utterance_id, closed=True):
                closed.add(utterance_id)
            case _:
                pass

    assert set(started) <= closed


@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_session_any_cancel_splits_the_text_without_losing_any(steps: list[tuple[ClientMessage, float]]) -> None:
    """Spoken and unspoken text together are what was written."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.REALTIME))
    written: dict[str, str] = {}
    for message, _ in steps:
        if isinstance(message, TextChunk) and driver.session.utterances.phase(message.utterance_id).value in {
            "unknown",
            "open",
        }:
            written[message.utterance_id] = written.get(message.utterance_id, "") + message.text
        driver.say(message)

    for message in driver.messages:
        if isinstance(message, UtteranceCancelled) and not message.already_done:
            assert written.get(message.utterance_id, "") == message.text_spoken + message.text_unspoken


@settings(deadline=None, max_examples=40)
@given(steps=STEPS, ahead=st.sampled_from([0.5, 1.0, 4.0]))
def test_session_paced_audio_leaves_only_within_the_lead(
    steps: list[tuple[ClientMessage, float]], ahead: float
) -> None:
    """Whatever the client reports, a chunk leaves only if the lead after it is within max_audio_ahead."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.REALTIME, max_audio_ahead=ahead))
    for message, seconds in steps:
        driver.say(message)
        driver.drain_messages()
        if seconds:
            driver.wait(seconds, step_seconds=seconds)

        if driver.samples_sent():
            assert driver.session.outbox.lead_seconds(driver.clock()) <= ahead + 1e-6
