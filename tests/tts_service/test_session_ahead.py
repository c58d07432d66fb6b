"""A session whose renderer welcomes the next segment early: what is ordered, and what becomes of it."""

from tests.fakes.session_driver import SessionDriver
from tts_service.speech.protocol import CancelUtterance, EndUtterance, Flush, Flushed, TextChunk, UtteranceCancelled
from tts_service.speech.rendering import AudioMade, DiscardAudio, FinishAudio, NextWelcome, RenderSegment, SegmentMade
from tts_service.speech.session_config import ConfigRequest, Pacing
from tts_service.types import EncodedPiece

SENTENCES = "A first sentence is here. Then comes the second one. And a third one ends it."


def driven(text: str = SENTENCES, *, pacing: Pacing = Pacing.NONE, end: bool = True) -> SessionDriver:
    """Return a session that has ordered its first segment, of which nothing has been made."""
    driver = SessionDriver(ConfigRequest(pacing=pacing), rendering=False)
    driver.say(TextChunk(utterance_id="u", text=text))
    return driver.say(EndUtterance(utterance_id="u")) if end else driver


def told(driver: SessionDriver, *events: NextWelcome | AudioMade | SegmentMade) -> SessionDriver:
    """Let the renderer say something."""
    for event in events:
        driver.session.rendered(event, driver.clock())
    return driver.run()


def ordered(driver: SessionDriver) -> list[int | str]:
    """Return what was ordered: a segment by its index, or the kind of another order."""
    return [order.index if isinstance(order, RenderSegment) else type(order).__name__ for order in driver.orders]


def made(driver: SessionDriver, index: int, end: int) -> SegmentMade:
    """Return the word that a segment has been made."""
    order = next(order for order in driver.orders if isinstance(order, RenderSegment) and order.index == index)
    return SegmentMade(utterance_id="u", segment=order.segment, sample_start=0, sample_end=end, compute_seconds=0.1)


def test_next_segment_is_ordered_when_it_is_welcome() -> None:
    """One more than is being made, and no further one before the first has been made and another welcome came."""
    driver = driven()
    before = ordered(driver)
    told(driver, NextWelcome(utterance_id="u"))
    early = ordered(driver)
    told(driver, made(driver, 0, 100))
    after = ordered(driver)
    told(driver, NextWelcome(utterance_id="u"))

    assert ([0], [0, 1], [0, 1]) == (before, early, after)
    assert [0, 1, 2] == ordered(driver)


def test_end_of_the_audio_is_ordered_when_every_segment_has_been_made() -> None:
    """A welcome does not bring it forward: it would end the audio of what is still being made."""
    driver = driven("One sentence only.")
    told(driver, NextWelcome(utterance_id="u"))
    early = ordered(driver)
    told(driver, made(driver, 0, 100))

    assert [0] == early
    assert [0, FinishAudio.__name__] == ordered(driver)


def test_welcome_counts_when_the_text_comes_later() -> None:
    """Text that arrives while the last segment is being made is ordered at once."""
    driver = driven("A first sentence is here. ", end=False)
    driver.say(Flush(utterance_id="u", flush_id="f"))
    told(driver, NextWelcome(utterance_id="u"))
    before = ordered(driver)
    driver.say(TextChunk(utterance_id="u", text="Then comes the second one. And"))

    assert ([0], [0, 1]) == (before, ordered(driver))


def test_welcome_is_over_when_the_segment_has_been_made() -> None:
    """What was welcome beside a segment is an ordinary order after it."""
    driver = driven("A first sentence is here. ", end=False)
    driver.say(Flush(utterance_id="u", flush_id="f"))
    told(driver, NextWelcome(utterance_id="u"), made(driver, 0, 100))
    driver.say(TextChunk(utterance_id="u", text="Then comes the second one. Then the third one. And"))

    assert [0, 1] == ordered(driver)
    assert ["f"] == [message.flush_id for message in driver.messages if isinstance(message, Flushed)]


def test_paced_audio_that_is_far_ahead_lets_the_welcome_wait() -> None:
    """A welcome is an offer: with enough audio made, nothing more is ordered, and an interruption wastes no more."""
    driver = driven(pacing=Pacing.REALTIME)
    piece = EncodedPiece(data=bytes(2 * 24_000 * 30), sample_count=24_000 * 30)
    told(driver, AudioMade(utterance_id="u", piece=piece), NextWelcome(utterance_id="u"))

    assert [0] == ordered(driver)


def test_unspeakable_text_waits_for_its_place() -> None:
    """It is accounted for between the segments around it, and is not ordered early in their place."""
    driver = driven("A first sentence is here. \n\n*** \n\nThen comes the second one.")
    told(driver, NextWelcome(utterance_id="u"))
    told(driver, made(driver, 0, 100))

    assert all(
        order.segment.text.strip() not in {"", "***"} for order in driver.orders if isinstance(order, RenderSegment)
    )
    assert 1 in ordered(driver)


def test_cancel_counts_what_was_ordered_early_as_unspoken() -> None:
    """Nothing of it was heard: its text is in the rest, and its order is discarded with the utterance."""
    driver = driven()
    told(driver, NextWelcome(utterance_id="u"))
    driver.say(CancelUtterance(utterance_id="u"))
    (cancelled,) = [message for message in driver.messages if isinstance(message, UtteranceCancelled)]

    assert ("", SENTENCES) == (cancelled.text_spoken, cancelled.text_unspoken)
    assert [0, 1, DiscardAudio.__name__] == ordered(driver)
