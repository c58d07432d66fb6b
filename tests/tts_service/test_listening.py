"""What is known of a listener: when it will have heard all that is made, and what it waits for."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.session_driver import OFFER
from tts_service.busy_time import BusyTime
from tts_service.listening import Listening, Place
from tts_service.scheduling.deadlines import Promise, dry_at, sound_due_at
from tts_service.scheduling.work import Priority
from tts_service.speech import playback
from tts_service.speech.playback import PlaybackClock
from tts_service.speech.rendering import Heard
from tts_service.speech.session_config import ConfigRequest, Defaults, Pacing, resolve

INTERACTIVE = resolve(ConfigRequest(), OFFER, Defaults(seed=1, pacing=Pacing.REALTIME))
UNPACED = resolve(ConfigRequest(), OFFER, Defaults(seed=1, pacing=Pacing.NONE))
BULK = resolve(ConfigRequest(priority=Priority.BULK), OFFER, Defaults(seed=1, pacing=Pacing.NONE))
PROMISE = Promise(first_audio_seconds=0.15, margin_seconds=0.04)


def heard(at: float, *, ahead: float = 0.0, unsent: float = 0.0, received: float = 0.0) -> Heard:
    """Return an order's word: so much was sent and not played, so much received in all and not sent."""
    clock = PlaybackClock(sent_seconds=ahead, as_of=at)
    return Heard(clock=clock, unsent_seconds=unsent, ordered_at=at, received_seconds=received)


def place_of(listening: Listening, at: float) -> Place:
    """Return an order's place."""
    return Place(listening=listening, ordered_at=at, busy=BusyTime(lambda: 0.0))


def test_listener_with_nothing_to_hear_is_due_as_was_promised_and_opens() -> None:
    """Until the first piece is there; then the next is due when that one has been heard."""
    listening = Listening(INTERACTIVE, now=10.0)
    listening.ordered(heard(10.0))
    place = place_of(listening, 10.0)
    before = (place.due_at(PROMISE, 10.05), place.opens)
    listening.made(0.5, 10.1)

    assert (pytest.approx(10.15), True) == before
    assert (pytest.approx(10.1 + 0.5 - 0.04), False) == (place.due_at(PROMISE, 10.2), place.opens)


def test_sound_that_comes_late_is_heard_from_then_on() -> None:
    """A player that ran dry begins again with the piece that ends its wait."""
    listening = Listening(INTERACTIVE, now=0.0)
    listening.ordered(heard(0.0))
    listening.made(1.0, 1.0)
    listening.made(1.0, 5.0)

    assert dry_at(listening.hearing(0.0, 5.5)) == pytest.approx(6.0)


def test_order_counts_what_was_sent_what_was_not_and_what_nobody_knows_yet() -> None:
    """Pieces that the session has received are in its word, those on their way are counted besides."""
    listening = Listening(INTERACTIVE, now=0.0)
    listening.ordered(heard(0.0))
    listening.made(1.0, 0.0)
    listening.made(0.5, 0.0)
    listening.ordered(heard(0.2, ahead=0.3, unsent=0.6, received=1.0))

    assert dry_at(listening.hearing(0.2, 0.2)) == pytest.approx(0.2 + 0.3 + 0.6 + 0.5)


def test_order_behind_sound_opens_nothing() -> None:
    """Whoever still hears something is not waiting for a first sound."""
    listening = Listening(INTERACTIVE, now=0.0)
    listening.ordered(heard(0.0, ahead=2.0))

    assert not place_of(listening, 0.0).opens


def test_bulk_is_never_due() -> None:
    """Nobody listens while it is made."""
    place = place_of(Listening(BULK, now=0.0), 0.0)

    assert (Priority.BULK, math.inf) == (place.priority, place.due_at(PROMISE, 0.0))


def test_unpaced_speech_is_due_until_its_first_sound_and_bulk_then() -> None:
    """Somebody may wait for it to begin; after that it is made as fast as can be, behind all who listen."""
    listening = Listening(UNPACED, now=0.0)
    place = place_of(listening, 0.0)
    before = (place.priority, place.due_at(PROMISE, 0.0))
    listening.made(0.5, 0.1)

    assert (Priority.INTERACTIVE, pytest.approx(0.15)) == before
    assert (Priority.BULK, math.inf) == (place.priority, place.due_at(PROMISE, 0.1))


def test_unpaced_speech_made_slower_than_it_is_heard_opens_once() -> None:
    """Its next segment finds a listener who has heard all, and is bulk all the same."""
    listening = Listening(UNPACED, now=0.0)
    listening.ordered(heard(0.0))
    first = place_of(listening, 0.0).priority
    listening.made(0.5, 1.0)
    listening.ordered(heard(9.0, received=0.5))
    second = place_of(listening, 9.0)

    assert (Priority.INTERACTIVE, Priority.BULK) == (first, second.priority)
    assert math.inf == second.due_at(PROMISE, 9.0)


def test_pause_moves_what_is_due_with_each_report_and_playing_on_leaves_it_there() -> None:
    """Three seconds are left to hear from each repeated report on; from the first one beyond it, less and less."""
    listening = Listening(INTERACTIVE, now=0.0)
    clock = playback.reported(PlaybackClock(sent_seconds=4.0, as_of=0.0), 1.0, 1.0)
    due = list[float]()
    place = place_of(listening, 0.0)
    for played, now in ((1.0, 2.0), (1.0, 3.0), (1.4, 3.5)):
        clock = playback.reported(playback.advanced(clock, now), played, now)
        listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))
        due.append(place.due_at(PROMISE, now + 0.3))

    assert due == pytest.approx([2.0 + 3.0 - 0.04, 3.0 + 3.0 - 0.04, 3.5 + 2.6 - 0.04])
    assert 0.0 == listening.still_seconds(3.6)


def test_utterance_after_an_interruption_opens_though_the_one_before_had_much_to_hear() -> None:
    """What was dropped is heard by nobody: the new one's first sound is due as was promised."""
    before = playback.sent(PlaybackClock(as_of=0.0), 4.0, 0.0)
    clock = playback.discarded(playback.advanced(before, 1.0), 1.0)
    listening = Listening(INTERACTIVE, now=1.2)
    listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=1.2))
    place = place_of(listening, 1.2)

    assert place.opens
    assert place.due_at(PROMISE, 1.25) == pytest.approx(1.2 + 0.15)


def test_word_of_less_to_hear_than_was_thought_is_noticed() -> None:
    """Not that of a listener who plays on as was thought, nor a hair's breadth."""
    listening = Listening(INTERACTIVE, now=0.0)
    listening.ordered(heard(0.0, ahead=5.0))

    assert not listening.ordered(heard(1.0, ahead=4.0))
    assert not listening.ordered(heard(2.0, ahead=2.9))
    assert listening.ordered(heard(2.0, ahead=1.0))
    assert not listening.ordered(heard(2.0, ahead=5.0))


@given(
    told=st.lists(
        st.tuples(
            st.floats(0.0, 1.5), st.sampled_from(["made", "ordered", "reported", "nothing"]), st.floats(0.0, 2.0)
        ),
        max_size=12,
    )
)
@settings(deadline=None, max_examples=150)
def test_deadline_that_is_remembered_is_the_one_that_follows_from_what_is_known(
    told: list[tuple[float, str, float]],
) -> None:
    """Whatever is heard of the listener and whenever it is asked for."""
    listening, now = Listening(INTERACTIVE, now=0.0), 0.0
    place = place_of(listening, 0.0)
    remembered, anew = list[float](), list[float]()
    for after, event, seconds in told:
        now += after
        if event == "made":
            listening.made(seconds, now)
        elif event == "ordered":
            listening.ordered(heard(now, ahead=seconds))
        elif event == "reported":
            clock = PlaybackClock(sent_seconds=3.0, played_seconds=seconds, as_of=now, reported_at=now, plays=True)
            listening.ordered(Heard(clock=clock, unsent_seconds=0.0, ordered_at=now))
        remembered.append(place.due_at(PROMISE, now))
        anew.append(sound_due_at(listening.hearing(0.0, now), PROMISE))

    assert pytest.approx(anew) == remembered
