"""The session protocol: order of messages, flush, cancel, configuration, limits, progress, idling and drain."""

from typing import TypeVar

import pytest

from tests.fakes.session_driver import SAMPLES_PER_CHAR, SessionDriver, kinds
from tts_service.errors import CallerError, Reason, ServiceError
from tts_service.speech.protocol import (
    AudioChunk,
    CancelUtterance,
    Drain,
    DrainingNotice,
    EndUtterance,
    FinishReason,
    Flush,
    Flushed,
    HalfClose,
    PlaybackPosition,
    Progress,
    Refused,
    RestoringNotice,
    SegmentDone,
    SessionStarted,
    TextChunk,
    UpdateConfig,
    UtteranceCancelled,
    UtteranceDone,
    UtteranceError,
    UtteranceStarted,
    WaitingFor,
)
from tts_service.speech.rendering import (
    AudioMade,
    DiscardAudio,
    NoteHeard,
    RenderFailed,
    RenderSegment,
    RestoreAwaited,
    SegmentSpoken,
)
from tts_service.speech.session_config import ConfigChange, ConfigRequest, Pacing
from tts_service.speech.session_limits import SessionLimits
from tts_service.types import VOICE, EncodedPiece

REALTIME = ConfigRequest(pacing=Pacing.REALTIME)
NO_DELAY = ConfigRequest(pacing=Pacing.NONE, max_buffer_delay=0.0)

Kind = TypeVar("Kind")


def text(utterance_id: str, words: str) -> TextChunk:
    """Return a piece of text."""
    return TextChunk(utterance_id=utterance_id, text=words)


def of_kind(driver: SessionDriver, kind: type[Kind]) -> list[Kind]:
    """Return the messages of one kind."""
    return [m for m in driver.messages if isinstance(m, kind)]


def test_session_first_says_what_is_in_force() -> None:
    """The first message shows the effective configuration."""
    driver = SessionDriver().run()

    assert [("toy", "ann", "en-US", 7)] == [
        (m.config.model, m.config.voice, m.config.language, m.config.seed) for m in of_kind(driver, SessionStarted)
    ]


def test_utterance_spoken_to_its_end_gives_its_messages_in_order() -> None:
    """Start, audio, segments and figures come in the order of the protocol."""
    driver = SessionDriver().say(text("u", "One. Two."), EndUtterance(utterance_id="u"))

    expected = ["SessionStarted", "UtteranceStarted", "AudioChunk", "SegmentDone", "AudioChunk", "SegmentDone"]
    assert [*expected, "AudioChunk", "UtteranceDone"] == kinds(driver.messages)


def test_audio_of_an_utterance_is_gap_free_and_ends_with_last() -> None:
    """Offsets continue where the chunk before ended, sequence numbers rise by one, and only the end says so."""
    driver = SessionDriver().say(text("u", "One sentence. Another one."), HalfClose())
    chunks = of_kind(driver, AudioChunk)

    expected_offset = 0
    for number, chunk in enumerate(chunks):
        assert (number, expected_offset) == (chunk.sequence, chunk.sample_offset)
        expected_offset += chunk.piece.sample_count
    assert [False] * (len(chunks) - 1) + [True] == [c.last for c in chunks]


def test_segments_cover_the_text_byte_for_byte() -> None:
    """Text spans follow one another and sample spans do too."""
    words = "Größe zählt. Does it? Yes!"
    driver = SessionDriver().say(text("u", words), EndUtterance(utterance_id="u"))
    segments = of_kind(driver, SegmentDone)

    assert [0, *[s.text_end for s in segments][:-1]] == [s.text_start for s in segments]
    assert len(words.encode()) == segments[-1].text_end
    assert [0, *[s.sample_end for s in segments][:-1]] == [s.sample_start for s in segments]


def test_flush_is_acknowledged_after_all_speech_of_its_text() -> None:
    """A flush in mid-sentence speaks what there is, then says so with what was sent."""
    driver = SessionDriver(NO_DELAY).say(text("u", "half a sen"), Flush(utterance_id="u", flush_id="f1"))

    assert ["SessionStarted", "UtteranceStarted", "AudioChunk", "SegmentDone", "Flushed"] == kinds(driver.messages)
    assert [("f1", len("half a sen") * SAMPLES_PER_CHAR)] == [
        (f.flush_id, f.samples_sent) for f in of_kind(driver, Flushed)
    ]


def test_flush_with_nothing_new_is_acknowledged_and_nothing_spoken() -> None:
    """Flushing twice speaks once."""
    driver = SessionDriver().say(text("u", "Hello."), Flush(utterance_id="u", flush_id="a"))
    driver.drain_messages()

    driver.say(Flush(utterance_id="u", flush_id="b"))

    assert ["Flushed"] == kinds(driver.messages)


def test_flush_of_a_new_utterance_without_text_is_acknowledged() -> None:
    """A flush may be the first word of an utterance."""
    driver = SessionDriver().say(Flush(utterance_id="u", flush_id="a"))

    assert ["a"] == [f.flush_id for f in of_kind(driver, Flushed)]


@pytest.mark.parametrize("words", ["", "   \n\t ", "😀🎉", "\x00\x07", "...!?"])
def test_text_with_nothing_to_say_gives_a_short_silence(words: str) -> None:
    """An utterance without anything speakable ends as EMPTY, with some samples of silence."""
    driver = SessionDriver().say(text("u", words), EndUtterance(utterance_id="u"))
    done = of_kind(driver, UtteranceDone)

    assert [(FinishReason.EMPTY, 4_800)] == [(d.finish_reason, d.samples) for d in done]


def test_utterances_play_in_the_order_of_their_creation() -> None:
    """A later utterance waits for the earlier one to end, whatever comes first."""
    driver = SessionDriver().say(text("a", "First. "), Flush(utterance_id="a"))
    driver.say(text("b", "Second."), EndUtterance(utterance_id="b"))
    assert ["a"] == [s.utterance_id for s in of_kind(driver, UtteranceStarted)]

    driver.say(EndUtterance(utterance_id="a"))

    assert ["a", "b"] == [d.utterance_id for d in of_kind(driver, UtteranceDone)]


def test_half_close_ends_every_utterance_and_then_the_session() -> None:
    """The client that says no more hears everything, then the stream ends well."""
    driver = SessionDriver().say(text("a", "First."), text("b", "Second."), HalfClose())

    assert ["a", "b"] == [d.utterance_id for d in of_kind(driver, UtteranceDone)]
    assert (True, None) == (driver.session.ended, driver.session.end_error)


def test_cancel_overtakes_audio_that_was_not_written() -> None:
    """After UtteranceCancelled no audio of the utterance is given, and its work is discarded."""
    driver = SessionDriver(REALTIME).say(text("u", "A long sentence that goes on and on for ever and ever. " * 4))
    driver.say(CancelUtterance(utterance_id="u")).wait(10)
    after = driver.messages[[type(m) for m in driver.messages].index(UtteranceCancelled) + 1 :]

    assert [] == [m for m in after if isinstance(m, AudioChunk)]
    assert DiscardAudio(utterance_id="u") in driver.orders


def test_cancel_of_what_was_never_sent_leaves_all_text_unspoken() -> None:
    """Without any audio out, nothing counts as spoken."""
    driver = SessionDriver(rendering=False).say(text("u", "Hello there."), CancelUtterance(utterance_id="u"))

    assert [("", "Hello there.", 0)] == [
        (c.text_spoken, c.text_unspoken, c.samples_sent) for c in of_kind(driver, UtteranceCancelled)
    ]


@pytest.mark.parametrize(
    ("heard_share", "spoken"),
    [(0.0, ""), (0.4, ""), (0.6, "One two. "), (1.0, "One two. "), (1.6, "One two. Six ten. ")],
)
def test_cancel_splits_text_at_what_was_heard_to_a_segment(heard_share: float, spoken: str) -> None:
    """A segment counts as spoken once half of its audio was heard."""
    driver = SessionDriver().say(text("u", "One two. Six ten. And more"))
    first = of_kind(driver, SegmentDone)[0]

    driver.say(CancelUtterance(utterance_id="u", heard_samples=round(heard_share * first.sample_end)))

    assert [spoken] == [c.text_spoken for c in of_kind(driver, UtteranceCancelled)]


def test_cancel_counts_a_segment_whose_audio_is_still_being_made() -> None:
    """Once a segment's length is known, half of it heard counts, whether or not all of it was made."""
    driver = SessionDriver(rendering=False).say(text("u", "One long sentence."), Flush(utterance_id="u"))
    order = next(o for o in driver.orders if isinstance(o, RenderSegment))
    known = SegmentSpoken(utterance_id="u", segment=order.segment, sample_start=0, sample_end=4_000)
    driver.session.rendered(known, driver.clock())
    piece = EncodedPiece(data=bytes(6_000), sample_count=3_000)
    driver.session.rendered(AudioMade(utterance_id="u", piece=piece), driver.clock())
    driver.run().say(CancelUtterance(utterance_id="u"))

    assert ["One long sentence."] == [c.text_spoken for c in of_kind(driver, UtteranceCancelled)]


def test_cancel_of_a_finished_utterance_keeps_the_lead_of_the_running_one() -> None:
    """What the client drops of the earlier one makes no room for more of the later one."""
    driver = SessionDriver(REALTIME).say(text("a", "Two words."), EndUtterance(utterance_id="a"))
    driver.say(text("b", "word " * 40), EndUtterance(utterance_id="b"))
    driver.say(CancelUtterance(utterance_id="a", heard_samples=0))

    assert driver.session.outbox.lead_seconds(driver.clock()) <= 4.0
    assert 4.0 * 24_000 >= sum(m.piece.sample_count for m in of_kind(driver, AudioChunk) if m.utterance_id == "b")


def test_empty_text_is_neither_kept_nor_timed() -> None:
    """Any number of empty pieces changes nothing."""
    driver = SessionDriver().say(*[text("u", "") for _ in range(1_000)])

    assert (0, None) == (
        driver.session.utterances.get("u").text_bytes,
        driver.session.utterances.get("u").first_text_at,
    )


def test_cancel_lets_the_next_utterance_start_at_once() -> None:
    """What the client dropped does not hold back the next utterance's audio."""
    driver = SessionDriver(REALTIME).say(text("a", "x" * 200), EndUtterance(utterance_id="a"))
    driver.say(text("b", "Second."), EndUtterance(utterance_id="b"))

    driver.say(CancelUtterance(utterance_id="a", heard_samples=24_000))

    assert ["b"] == [d.utterance_id for d in of_kind(driver, UtteranceDone)]


def test_pacing_sends_no_more_than_the_lead_and_goes_on_with_time() -> None:
    """Audio stays within max_audio_ahead of playback, and everything leaves in the end."""
    driver = SessionDriver(REALTIME).say(text("u", "word " * 40), EndUtterance(utterance_id="u"))
    total = 200 * SAMPLES_PER_CHAR

    assert 4.0 * 24_000 >= driver.samples_sent()
    driver.wait(3.0)
    assert 7.0 * 24_000 + 2_400 >= driver.samples_sent() > 6.8 * 24_000
    driver.wait(total / 24_000)
    assert total == driver.samples_sent()


def test_pacing_follows_a_client_that_reports_a_pause() -> None:
    """A client that reports the same position gets nothing further."""
    driver = SessionDriver(REALTIME).say(text("u", "word " * 60), Flush(utterance_id="u"))
    sent = driver.samples_sent()

    for _ in range(10):
        driver.say(PlaybackPosition(utterance_id="u", played_samples=0)).wait(1.0)

    assert sent == driver.samples_sent()


def test_pause_of_a_listener_is_told_to_the_renderer_and_so_is_its_end() -> None:
    """While something is to be made; a player that moves is followed without that."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.REALTIME))
    for number in range(16):
        driver.session.receive(text("u", f"Sentence number {number} is here. "), driver.clock())
    driver.run()
    heard = []
    for samples in (1_000, 9_000, 9_000, 9_000, 20_000, 30_000):
        driver.wait(0.5).orders.clear()
        driver.say(PlaybackPosition(utterance_id="u", played_samples=samples))
        heard.append([each.heard.clock.played_seconds for each in driver.orders if isinstance(each, NoteHeard)])

    assert [[], [], [0.375], [0.375], [pytest.approx(20_000 / 24_000)], []] == heard


def test_pacing_none_is_bounded_by_what_the_client_has_not_taken() -> None:
    """A client that takes nothing lets no more than the bound be rendered."""
    driver = SessionDriver(limits=SessionLimits(unsent_bytes=100_000))
    for number in range(16):
        driver.session.receive(text("u", f"Sentence number {number} is here. "), driver.clock())
    for _ in range(50):
        for order in driver.session.take_orders(driver.clock()):
            driver._render(order)

    unsent = sum(u.unsent_bytes for u in driver.session.utterances.open)
    assert 100_000 <= unsent <= 100_000 + 2 * 40 * SAMPLES_PER_CHAR


def test_buffered_text_is_spoken_when_it_has_waited_long_enough() -> None:
    """Text without the end of a sentence is spoken after max_buffer_delay."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.NONE, max_buffer_delay=1.5)).say(text("u", "no end in sight"))
    assert [] == of_kind(driver, AudioChunk)

    driver.wait(1.6)

    assert [len("no end in sight") * SAMPLES_PER_CHAR] == [s.sample_end for s in of_kind(driver, SegmentDone)]


def test_buffered_text_with_no_delay_set_waits_for_ever() -> None:
    """A delay of zero means that only a sentence's end or a flush speaks."""
    driver = SessionDriver(NO_DELAY).say(text("u", "no end in sight")).wait(100)

    assert [] == of_kind(driver, AudioChunk)


def test_update_applies_from_the_next_utterance_on() -> None:
    """An open utterance keeps its configuration; the next one has the new one."""
    driver = SessionDriver().say(text("a", "First."))
    driver.say(UpdateConfig(change=ConfigChange(request=ConfigRequest(voice="bob"), paths=("voice", "language"))))
    driver.say(EndUtterance(utterance_id="a"), text("b", "Second."), HalfClose())

    assert [("a", "ann"), ("b", "bob")] == [(s.utterance_id, s.config.voice) for s in of_kind(driver, UtteranceStarted)]


def test_update_with_a_bad_value_changes_nothing_and_the_session_lives() -> None:
    """A refused update is an error without an utterance."""
    driver = SessionDriver()
    driver.say(UpdateConfig(change=ConfigChange(request=ConfigRequest(voice="nobody"), paths=("voice",))))

    assert [("", Reason.VOICE_NOT_FOUND, False)] == [
        (e.utterance_id, e.error.reason, e.closed) for e in of_kind(driver, UtteranceError)
    ]
    assert "ann" == driver.session.config.voice


def test_refused_message_is_answered_and_disturbs_nothing() -> None:
    """A message with an invalid field gets its error; the utterance goes on."""
    refusal = Refused(utterance_id="u", error=CallerError(Reason.BAD_CONFIG, "bad"))
    driver = SessionDriver().say(text("u", "One."), refusal, EndUtterance(utterance_id="u"))

    assert [False] == [e.closed for e in of_kind(driver, UtteranceError)]
    assert 1 == len(of_kind(driver, UtteranceDone))


def test_text_beyond_the_limit_is_refused_and_the_rest_is_spoken() -> None:
    """The piece that would exceed the limit is refused; what came before is not lost."""
    driver = SessionDriver(limits=SessionLimits(utterance_text_bytes=20))
    driver.say(text("u", "Short one. "), text("u", "x" * 10), EndUtterance(utterance_id="u"))

    assert [Reason.TEXT_TOO_LONG] == [e.error.reason for e in of_kind(driver, UtteranceError)]
    assert [11] == [s.text_end for s in of_kind(driver, SegmentDone)]


def test_ten_thousand_flushes_are_bounded_and_the_session_lives() -> None:
    """Flushes beyond the bound are refused one by one; those within it are acknowledged."""
    driver = SessionDriver(rendering=False)
    driver.say(text("u", "Hello."), *[Flush(utterance_id="u", flush_id=str(n)) for n in range(10_000)])

    errors = of_kind(driver, UtteranceError)
    assert {(Reason.AT_CAPACITY, False)} == {(e.error.reason, e.closed) for e in errors}
    assert 10_000 - 64 == len(errors)


def test_utterances_beyond_the_bound_are_refused_and_their_text_dropped() -> None:
    """The eighteenth waiting utterance is refused, once, and the others are spoken."""
    driver = SessionDriver(rendering=False)
    for number in range(18):
        driver.say(text(f"u{number}", "Hello."))
    driver.say(text("u17", "more"))

    assert [("u17", Reason.AT_CAPACITY, True)] == [
        (e.utterance_id, e.error.reason, e.closed) for e in of_kind(driver, UtteranceError)
    ]


def test_ids_are_bounded_for_the_life_of_a_session() -> None:
    """A session that has used up its ids says so instead of forgetting them."""
    driver = SessionDriver(limits=SessionLimits(utterances=3))
    for number in range(5):
        driver.say(text(f"u{number}", "Hi."), EndUtterance(utterance_id=f"u{number}"))

    assert ["u3", "u4"] == [e.utterance_id for e in of_kind(driver, UtteranceError)]


def test_failed_utterance_closes_and_the_next_one_is_spoken() -> None:
    """One bad sentence does not end the session."""
    driver = SessionDriver(rendering=False).say(text("a", "Bad."), text("b", "Good."), EndUtterance(utterance_id="b"))
    failure = ServiceError(Reason.ENGINE_FAULT, "broken")
    driver.session.rendered(RenderFailed(utterance_id="a", error=failure), driver.clock())
    driver.rendering = True

    driver.run()

    assert [("a", True)] == [(e.utterance_id, e.closed) for e in of_kind(driver, UtteranceError)]
    assert ["b"] == [d.utterance_id for d in of_kind(driver, UtteranceDone)]


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        (SessionDriver(NO_DELAY).say(text("u", "no end")), WaitingFor.TEXT),
        (SessionDriver(rendering=False).say(text("u", "An end."), Flush(utterance_id="u")), WaitingFor.CAPACITY),
    ],
)
def test_progress_says_what_an_open_utterance_waits_for(driver: SessionDriver, expected: WaitingFor) -> None:
    """Every two seconds without another message, the client hears why."""
    driver.wait(5.0)

    assert [expected] * 2 == [p.waiting_for for p in of_kind(driver, Progress)]


def test_progress_while_playback_is_paused_says_playback() -> None:
    """A client that holds its playback hears that it is what is waited for."""
    driver = SessionDriver(REALTIME).say(text("u", "word " * 60), Flush(utterance_id="u"))
    for _ in range(5):
        driver.say(PlaybackPosition(utterance_id="u", played_samples=0)).wait(1.0)

    assert {WaitingFor.PLAYBACK} == {p.waiting_for for p in of_kind(driver, Progress)}


def test_restore_is_noticed_and_shows_as_progress() -> None:
    """Speech that waits for a module says so at once, and again as progress."""
    driver = SessionDriver(rendering=False).say(text("u", "An end."), Flush(utterance_id="u"))
    driver.session.rendered(RestoreAwaited(utterance_id="u", module=VOICE, expected_seconds=0.3), driver.clock())
    driver.run().wait(2.5)

    assert [(VOICE, 0.3)] == [(n.module, n.expected_seconds) for n in of_kind(driver, RestoringNotice)]
    assert [WaitingFor.RESTORE] == [p.waiting_for for p in of_kind(driver, Progress)]


def test_idle_session_ends_with_idle_timeout() -> None:
    """Without input and with nothing to say, the session ends after the idle time."""
    driver = SessionDriver(limits=SessionLimits(idle_timeout_seconds=10)).wait(9.9)
    assert driver.session.end_error is None

    driver.wait(0.2)

    assert driver.session.end_error is not None
    assert Reason.IDLE_TIMEOUT == driver.session.end_error.reason


def test_session_that_still_speaks_is_not_idle() -> None:
    """Long speech under pacing keeps the session alive without any input."""
    driver = SessionDriver(REALTIME, SessionLimits(idle_timeout_seconds=5)).say(
        text("u", "word " * 60), EndUtterance(utterance_id="u")
    )
    driver.wait(11.5, step_seconds=0.5)

    assert driver.session.end_error is None


def test_drain_finishes_what_has_begun_and_refuses_what_is_new() -> None:
    """A draining session speaks its open utterance to the end, refuses another, then ends."""
    driver = SessionDriver(REALTIME).say(text("a", "word " * 40), EndUtterance(utterance_id="a"))
    driver.say(Drain(deadline=driver.clock() + 60), text("b", "Too late."))
    driver.wait(8.0)

    assert [60.0] == [n.seconds_left for n in of_kind(driver, DrainingNotice)]
    assert [("b", Reason.DRAINING, True)] == [
        (e.utterance_id, e.error.reason, e.closed) for e in of_kind(driver, UtteranceError)
    ]
    assert ["a"] == [d.utterance_id for d in of_kind(driver, UtteranceDone)]
    assert driver.session.end_error is not None
    assert Reason.DRAINING == driver.session.end_error.reason


def test_drain_deadline_ends_even_an_utterance_that_waits_for_text() -> None:
    """What is not finished at the deadline is given up."""
    driver = SessionDriver(NO_DELAY).say(text("a", "no end"), Drain(deadline=1_005.0)).wait(4.5)
    assert driver.session.end_error is None

    driver.wait(1.0)

    assert driver.session.ended


def test_underrun_is_counted_when_rendering_comes_too_late() -> None:
    """A gap that the service made, not the client's missing text, is an underrun."""
    driver = SessionDriver(REALTIME).say(text("u", "One sentence here. "), Flush(utterance_id="u"))
    driver.rendering = False
    driver.say(text("u", "And another one, late. "), Flush(utterance_id="u"))
    late = [o for o in driver.orders if isinstance(o, RenderSegment)][-1]
    driver.wait(20)

    driver._render(late)
    driver.rendering = True
    driver.say(EndUtterance(utterance_id="u")).wait(20)

    assert [1] == [d.underruns for d in of_kind(driver, UtteranceDone)]


def test_wake_at_names_the_moment_when_something_is_due() -> None:
    """Sleeping until wake_at never misses pacing, delays, progress or idling."""
    driver = SessionDriver(ConfigRequest(pacing=Pacing.REALTIME, max_buffer_delay=1.0)).say(text("u", "no end"))
    woken = 0
    while driver.clock() < 1_400.0 and driver.session.end_error is None:
        due = driver.session.wake_at(driver.clock())
        driver.clock.advance(max(0.0, due - driver.clock()) + 1e-6)
        driver.run()
        woken += 1

    assert 1 == len(of_kind(driver, SegmentDone))
    assert Reason.IDLE_TIMEOUT == driver.session.end_error.reason
    assert woken < 200
