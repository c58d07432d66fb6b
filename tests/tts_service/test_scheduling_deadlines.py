"""By when sound and its tokens must be there."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.scheduling.deadlines import Hearing, Promise, dry_at, sound_due_at
from tts_service.speech import playback
from tts_service.speech.playback import PlaybackClock

PROMISE = Promise(first_audio_seconds=0.15, margin_seconds=0.04)


def hearing(clock: PlaybackClock, *, unsent_seconds: float = 0.0, ordered_at: float = 0.0) -> Hearing:
    """Return what a listener has."""
    return Hearing(clock=clock, unsent_seconds=unsent_seconds, ordered_at=ordered_at)


def test_sound_of_a_beginning_is_due_when_it_is_promised() -> None:
    """Who has nothing to hear waits from the order on."""
    due_at = sound_due_at(hearing(PlaybackClock(as_of=1.0), ordered_at=7.0), PROMISE)

    assert pytest.approx(7.15) == due_at


def test_sound_behind_other_sound_is_due_before_that_ends() -> None:
    """What was sent and what is made but unsent are both heard first; a margin is left for the way."""
    clock = playback.sent(PlaybackClock(), 3.0, 10.0)
    due_at = sound_due_at(hearing(clock, unsent_seconds=0.5, ordered_at=10.0), PROMISE)

    assert pytest.approx(13.46) == due_at


def test_sound_for_a_client_that_pauses_is_due_later_with_each_report() -> None:
    """Playback is taken to go on from the last report, wherever the model was."""
    clock = playback.sent(PlaybackClock(), 3.0, 10.0)
    paused = playback.reported(clock, 1.0, 15.0)
    again = playback.reported(paused, 1.0, 16.0)

    assert pytest.approx((13.0, 17.0, 18.0)) == tuple(dry_at(hearing(each)) for each in (clock, paused, again))


def test_text_that_comes_into_silence_is_due_as_promised() -> None:
    """A gap that the missing text has made cannot be mended; what counts is how soon speech begins again."""
    clock = playback.sent(PlaybackClock(), 1.0, 0.0)
    due_at = sound_due_at(hearing(clock, ordered_at=5.0), PROMISE)

    assert pytest.approx(5.15) == due_at


@given(
    sent=st.floats(min_value=0.0, max_value=60.0),
    unsent=st.floats(min_value=0.0, max_value=60.0),
)
@settings(deadline=None, max_examples=50)
def test_more_audio_never_makes_sound_due_earlier(sent: float, unsent: float) -> None:
    """Whether it has left or waits to."""
    clock = playback.sent(PlaybackClock(), sent, 1.0)
    less = sound_due_at(hearing(PlaybackClock(as_of=1.0), ordered_at=1.0), PROMISE)
    due_at = sound_due_at(hearing(clock, unsent_seconds=unsent, ordered_at=1.0), PROMISE)

    assert due_at >= less
