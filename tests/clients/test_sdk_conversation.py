"""The client's side of a session as a pure state machine: audio in order, cancels, refusals, bounds on memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom_client.caller_input import TEXT_PIECE_BYTES, pieces_of
from greenroom_client.config import SessionConfig
from greenroom_client.conversation import Conversation, ReadLimits
from greenroom_client.errors import (
    AtCapacityError,
    AudioOverrunError,
    MessageRefused,
    ProtocolError,
    ServiceFaultError,
    SessionClosedError,
    UtteranceFailed,
    UtteranceInterrupted,
)
from greenroom_client.events import (
    AudioChunk,
    Cancelled,
    Draining,
    FinishReason,
    Flushed,
    Limits,
    Refusal,
    SegmentSpoken,
    SessionStarted,
    UtteranceDone,
    UtteranceStarted,
)
from greenroom_client.utterance_record import Phase, UtteranceRecord

LIMITS = Limits(
    utterance_text_bytes=65536,
    waiting_utterances=16,
    waiting_flushes=2,
    idle_timeout_seconds=300.0,
    sessions=64,
    detect_audio_seconds=60.0,
    detect_audio_bytes=1 << 25,
)
FAULT = ServiceFaultError("broken", code="INTERNAL", reason="ENGINE_FAULT")


def begun(limits: ReadLimits | None = None) -> Conversation:
    """Return a conversation whose session has started."""
    conversation = Conversation(limits or ReadLimits())
    conversation.receive(SessionStarted(session_id="s", config=SessionConfig(voice="alto"), limits=LIMITS))
    return conversation


def opened(conversation: Conversation, utterance_id: str | None = None) -> UtteranceRecord:
    """Return the record of an utterance that the service knows."""
    record = conversation.begin(utterance_id)
    conversation.opens(record, 0.0)
    return record


def audio(utterance_id: str, sequence: int, *, size: int = 10) -> AudioChunk:
    """Return the chunk of a number, `size` samples of a byte each."""
    return AudioChunk(
        utterance_id=utterance_id,
        sequence=sequence,
        sample_offset=sequence * size,
        sample_count=size,
        data=bytes(size),
        last=False,
    )


def done(utterance_id: str, *, samples: int = 0) -> UtteranceDone:
    """Return the end of an utterance."""
    return UtteranceDone(
        utterance_id=utterance_id,
        finish_reason=FinishReason.COMPLETE,
        samples=samples,
        first_audio_seconds=0.1,
        queue_wait_seconds=0.0,
        real_time_factor=0.5,
        underruns=0,
    )


def test_audio_is_handed_out_in_order_before_the_outcome() -> None:
    """What came before the end is read before the end is told."""
    conversation = begun()
    record = opened(conversation, "u")
    for event in (audio("u", 0), audio("u", 1), done("u", samples=20)):
        conversation.receive(event)

    assert [0, 1] == [chunk.sequence for chunk in (conversation.take(record), conversation.take(record)) if chunk]
    assert conversation.take(record) is None
    assert 20 == record.result().samples


def test_result_carries_the_segments_and_the_configuration_in_force() -> None:
    """Figures, the map from text to audio and the effective configuration come as one value."""
    conversation = begun()
    record = opened(conversation, "u")
    segment = SegmentSpoken(utterance_id="u", text_start=0, text_end=5, sample_start=0, sample_end=10)
    for event in (UtteranceStarted(utterance_id="u", config=SessionConfig(voice="bass")), segment, done("u")):
        conversation.receive(event)

    assert (segment,) == record.result().segments
    assert SessionConfig(voice="bass") == record.result().config


@pytest.mark.parametrize("chunk", [audio("u", 0), audio("u", 2), audio("u", 1, size=5)])
def test_gap_in_the_audio_ends_the_utterance_and_cancels_it(chunk: AudioChunk) -> None:
    """A chunk that does not continue the audio is never played; the service is told to stop."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.receive(audio("u", 0))
    orders = conversation.receive(chunk)

    assert ["u"] == orders
    with pytest.raises(ProtocolError, match="expected chunk 1 at sample 10"):
        record.raise_failure()


def test_cancel_drops_audio_at_once_and_for_good() -> None:
    """Neither unread nor late audio of a cancelled utterance is handed out."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.receive(audio("u", 0))
    must_be_told = conversation.cancels(record)
    conversation.receive(audio("u", 1))

    assert must_be_told
    assert record.has_news
    assert conversation.take(record) is None
    assert 0 == conversation.buffered_bytes


def test_events_of_a_cancelled_utterance_are_stale() -> None:
    """Segments that are still on their way would move a caption on; nobody is shown them."""
    conversation = begun()
    record = opened(conversation, "u")
    segment = SegmentSpoken(utterance_id="u", text_start=0, text_end=5, sample_start=0, sample_end=10)
    before = conversation.is_stale(segment)
    conversation.cancels(record)
    conversation.receive(segment)

    assert (False, True) == (before, conversation.is_stale(segment))
    assert [] == record.segments


def test_cancel_is_told_once() -> None:
    """A second cancel of the same utterance sends nothing."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.cancels(record)

    assert not conversation.cancels(record)


def test_cancel_of_an_utterance_without_text_is_over_at_once() -> None:
    """The service never heard of it, so there is nobody to tell."""
    conversation = begun()
    record = conversation.begin("u")

    assert not conversation.cancels(record)
    assert Cancelled(utterance_id="u", already_done=True) == record.cancelled()


def test_cancel_that_crosses_the_end_says_that_it_was_done() -> None:
    """If the utterance ended before the service heard of the cancel, its samples are told and no text."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.cancels(record)
    conversation.receive(done("u", samples=7))
    conversation.receive(Cancelled(utterance_id="u", already_done=True))

    assert Cancelled(utterance_id="u", samples_sent=7, already_done=True) == record.cancelled()


def test_text_for_a_cancelled_utterance_is_refused_with_what_was_spoken() -> None:
    """A writer that does not know of the interruption learns of it."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.cancels(record)
    conversation.receive(Cancelled(utterance_id="u", text_spoken="Hello.", text_unspoken=" You."))

    with pytest.raises(UtteranceInterrupted) as caught:
        record.check_takes_text()
    assert caught.value.cancelled is not None
    assert "Hello." == caught.value.cancelled.text_spoken


def test_failure_of_one_utterance_leaves_the_others_alone() -> None:
    """An error that closes an utterance is raised where that one is awaited, after its audio."""
    conversation = begun()
    first, second = opened(conversation, "a"), opened(conversation, "b")
    conversation.receive(audio("a", 0))
    conversation.receive(Refusal(utterance_id="a", error=FAULT, closed=True))
    conversation.receive(audio("b", 0))

    assert conversation.take(first) is not None
    with pytest.raises(UtteranceFailed, match="broken"):
        first.result()
    assert conversation.take(second) is not None
    assert second.is_open


def test_refused_message_is_told_once_and_the_utterance_goes_on() -> None:
    """A writer learns that a piece of text was refused; the rest is spoken all the same."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.receive(Refusal(utterance_id="u", error=FAULT, closed=False))

    with pytest.raises(MessageRefused):
        record.check_takes_text()
    record.check_takes_text()
    assert record.is_open


def test_refusal_that_no_writer_heard_of_is_told_with_the_result() -> None:
    """Nothing is swallowed: who asks for the figures learns that text is missing, then gets them."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.receive(Refusal(utterance_id="u", error=FAULT, closed=False))
    conversation.receive(done("u", samples=3))

    with pytest.raises(MessageRefused):
        record.result()
    assert 3 == record.result().samples


def test_refused_updates_are_told_apart_by_their_order() -> None:
    """Each update is followed by a cancel that is always answered; the refusal before that answer is its own."""
    conversation = begun()
    first, second = conversation.begin_update(0.0), conversation.begin_update(0.0)
    conversation.receive(Cancelled(utterance_id=first.id, already_done=True))
    conversation.receive(Refusal(utterance_id="", error=FAULT, closed=False))
    conversation.receive(Cancelled(utterance_id=second.id, already_done=True))

    assert not first.refusals
    assert FAULT is second.refusals[0].error


def test_utterance_id_is_never_used_twice() -> None:
    """An id that was used is refused here, and made-up ids keep clear of it."""
    conversation = begun()
    conversation.begin("u1")

    assert "u2" == conversation.begin(None).id
    with pytest.raises(ValueError, match="never used again"):
        conversation.begin("u1")


@pytest.mark.parametrize("utterance_id", ["", "x" * 129, "é", "a\nb"])
def test_utterance_id_that_the_service_would_refuse_is_refused_here(utterance_id: str) -> None:
    """Ids are 1 to 128 printable ASCII characters."""
    with pytest.raises(ValueError, match="printable ASCII"):
        begun().begin(utterance_id)


def test_flush_beyond_the_limit_is_refused_before_it_is_sent() -> None:
    """The service would not say which flush it refused, so this side counts."""
    conversation = begun()
    record = opened(conversation, "u")
    record.flushes |= {"1": None, "2": None}

    with pytest.raises(AtCapacityError):
        conversation.check_flush_fits()
    conversation.receive(Flushed(utterance_id="u", flush_id="1", samples_sent=0))
    conversation.check_flush_fits()


def test_end_of_the_session_is_the_outcome_of_all_that_is_open() -> None:
    """What lost the session is raised by each open utterance, and by each new one."""
    conversation = begun()
    record = opened(conversation, "u")
    conversation.finish(FAULT)

    with pytest.raises(ServiceFaultError):
        record.result()
    with pytest.raises(ServiceFaultError):
        conversation.begin("v")


def test_end_of_the_session_leaves_what_was_done_done() -> None:
    """Figures of an utterance that ended before are not lost, nor is its unread audio."""
    conversation = begun()
    record = opened(conversation, "u")
    for event in (audio("u", 0), done("u", samples=10)):
        conversation.receive(event)
    conversation.finish(SessionClosedError("closed"))

    assert conversation.take(record) is not None
    assert 10 == record.result().samples


def test_reading_ahead_stops_at_its_bound_unless_somebody_waits() -> None:
    """Unread audio stops the reading, until somebody waits for something else."""
    conversation = begun(ReadLimits(read_ahead_bytes=20, max_buffered_bytes=100))
    opened(conversation, "u")
    conversation.receive(audio("u", 0))
    may_read_before = conversation.may_read(waiting=0)
    conversation.receive(audio("u", 1))

    assert may_read_before
    assert not conversation.may_read(waiting=0)
    assert conversation.may_read(waiting=1)


def test_audio_that_nobody_reads_is_given_up_at_the_bound_of_memory() -> None:
    """The utterance with the most unread audio is dropped and cancelled; the other one keeps all of its own."""
    conversation = begun(ReadLimits(read_ahead_bytes=10, max_buffered_bytes=50))
    lazy, busy = opened(conversation, "lazy"), opened(conversation, "busy")
    for sequence in range(4):
        conversation.receive(audio("lazy", sequence))
    conversation.receive(audio("busy", 0))
    orders = conversation.receive(audio("busy", 1))

    assert ["lazy"] == orders
    with pytest.raises(AudioOverrunError, match="40 bytes"):
        lazy.raise_failure()
    assert 20 == conversation.buffered_bytes == busy.buffered_bytes


def test_finished_utterance_whose_audio_is_given_up_says_so() -> None:
    """Even after its end, audio that was dropped is an error for whoever comes to read it."""
    conversation = begun(ReadLimits(read_ahead_bytes=10, max_buffered_bytes=15))
    forgotten, current = opened(conversation, "a"), opened(conversation, "b")
    for event in (audio("a", 0), done("a", samples=10)):
        conversation.receive(event)
    orders = conversation.receive(audio("b", 0, size=6))

    assert [] == orders
    with pytest.raises(AudioOverrunError):
        forgotten.raise_failure()
    assert current.has_news


def test_events_for_unknown_utterances_are_dropped() -> None:
    """Late answers about utterances that are over change nothing."""
    conversation = begun()

    for event in (audio("ghost", 3), done("ghost"), Draining(seconds_left=1.0), Cancelled(utterance_id="ghost")):
        assert [] == conversation.receive(event)
    assert conversation.is_quiet


def test_service_that_is_silent_for_too_long_is_taken_as_dead() -> None:
    """Silence counts from the later of the last message and the opening of the oldest open utterance."""
    conversation = begun(ReadLimits(stall_seconds=30.0))
    record = conversation.begin("u")
    conversation.reading_since = 0.0
    before_any_text = conversation.is_stalled(1_000.0)
    conversation.opens(record, 1_000.0)

    assert not before_any_text
    assert not conversation.is_stalled(1_030.0)
    assert conversation.is_stalled(1_030.1)


def test_silence_while_nothing_is_read_is_nobodys_fault() -> None:
    """A session that stopped reading on purpose does not accuse the service."""
    conversation = begun()
    opened(conversation, "u")
    conversation.reading_since = None

    assert not conversation.is_stalled(1e9)


@pytest.mark.parametrize(
    "fields", [{"read_ahead_bytes": 0}, {"max_buffered_bytes": 1}, {"stall_seconds": 0.0}, {"stall_seconds": -1.0}]
)
def test_read_limits_that_make_no_sense_are_refused(fields: dict[str, float]) -> None:
    """Limits are above zero and in order."""
    with pytest.raises(ValueError, match="limits must be above 0"):
        ReadLimits(**fields)  # type: ignore[arg-type]  # The table mixes whole numbers and others.


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["audio a", "audio b", "take a", "take b", "cancel a", "done a", "fail b"]), max_size=40)
)
def test_memory_is_bounded_and_audio_in_order_whatever_happens(steps: list[str]) -> None:
    """Any order of answers and reads keeps the account of unread bytes, the bound, and the order of each utterance."""
    conversation = begun(ReadLimits(read_ahead_bytes=20, max_buffered_bytes=45))
    records = {name: opened(conversation, name) for name in "ab"}
    sent, read = {"a": 0, "b": 0}, {"a": -1, "b": -1}
    for step in steps:
        verb, name = step.split()
        if verb == "audio":
            conversation.receive(audio(name, sent[name]))
            sent[name] += 1
        elif verb == "take":
            chunk = conversation.take(records[name])
            assert chunk is None or chunk.sequence == read[name] + 1
            read[name] += chunk is not None
        elif verb == "cancel":
            conversation.cancels(records[name])
        elif verb == "done":
            conversation.receive(done(name))
        else:
            conversation.receive(Refusal(utterance_id=name, error=FAULT, closed=True))

    unread = sum(record.buffered_bytes for record in records.values())
    assert unread == conversation.buffered_bytes <= 45
    assert all(record.phase is not Phase.CANCELLING or not record.chunks for record in records.values())


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200), st.integers(0, 2_000))
def test_text_of_any_length_is_cut_without_loss(text: str, repeats: int) -> None:
    """Pieces fit a message and give the text again."""
    pieces = list(pieces_of(text * repeats))

    assert text * repeats == "".join(pieces)
    assert all(len(piece.encode()) <= TEXT_PIECE_BYTES for piece in pieces)


def test_text_that_is_no_unicode_is_refused_before_it_is_sent() -> None:
    """A lone surrogate is the caller's error, not the session's end."""
    with pytest.raises(ValueError, match="surrogates not allowed"):
        list(pieces_of("\ud800"))
