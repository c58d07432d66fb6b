"""The scheduler in a simulated service: what listeners hear of it."""

import pytest

from benchmarks.scheduling_contenders import ByDeadline, FirstCome, Rules
from benchmarks.scheduling_outcome import Outcome, quantile
from benchmarks.scheduling_sessions import Manner
from benchmarks.scheduling_stories import beside, files, spread, steady
from benchmarks.scheduling_world import World
from tts_service.scheduling.figures import H100_ENGLISH
from tts_service.scheduling.sound_batches import BatchLimits

SECONDS = 14.0


def by_deadline(count: int) -> Outcome:
    """Return what came of so many sessions that talk."""
    return World(H100_ENGLISH, ByDeadline(admits=False), spread(count)).run(SECONDS)


def test_simulation_repeated_gives_the_same() -> None:
    """The same arrivals, device and order give the same outcome."""
    first, second = by_deadline(8), by_deadline(8)

    assert first == second
    assert first.heard


def test_32_sessions_hear_no_gap_and_begin_soon() -> None:
    """First audio is there within 300 ms for 95 of 100."""
    outcome = by_deadline(32)

    assert 0 == outcome.underruns
    assert 0.3 >= quantile(outcome.first_audio_seconds, 0.95)


def test_order_by_deadline_beats_first_come() -> None:
    """With batches of the same size, on the same arrivals."""
    arrivals = spread(48, over_seconds=6.0)
    plain = World(H100_ENGLISH, FirstCome(at_once=8, name="plain"), arrivals).run(SECONDS)
    shipped = World(H100_ENGLISH, ByDeadline(admits=False), arrivals).run(SECONDS)

    assert shipped.underruns < plain.underruns
    assert quantile(shipped.first_audio_seconds, 0.95) < quantile(plain.first_audio_seconds, 0.95)
    assert shipped.fairness > plain.fairness


@pytest.mark.parametrize("seed", [3, 4])
def test_twice_too_many_are_refused_and_who_is_in_stays_fine(seed: int) -> None:
    """Sessions come for which there is no room; those who are in hear no gaps to speak of."""
    arrivals = steady(14.0, stay_seconds=15.0, until=SECONDS, seed=seed)
    outcome = World(H100_ENGLISH, ByDeadline(), arrivals).run(SECONDS)

    assert outcome.refused > 10
    assert outcome.most_sessions > 40
    assert outcome.stalled_share < 0.001
    assert quantile(outcome.first_audio_seconds, 0.95) < 0.5


def test_files_take_what_is_left_and_disturb_nobody() -> None:
    """Bulk beside sessions goes on, and no gap is heard."""
    arrivals = beside(spread(16, over_seconds=4.0), files(4))
    outcome = World(H100_ENGLISH, ByDeadline(admits=False), arrivals).run(SECONDS)

    assert 0 == outcome.underruns
    assert all(each.audio_seconds > 0.0 for each in outcome.files)
    assert outcome.bulk_times > 10.0


def test_conversations_with_interruptions_hear_no_gap() -> None:
    """Text that comes word by word and turns that are broken off leave nothing behind."""
    arrivals = spread(16, manner=Manner.TURNS, over_seconds=4.0)
    outcome = World(H100_ENGLISH, ByDeadline(), arrivals).run(30.0)

    assert outcome.interrupted > 0
    assert 0 == outcome.underruns
    assert 16 == len(outcome.heard)


def test_nobody_starves_where_sound_is_made_together() -> None:
    """Talk and files share steps and waveforms: no gap is heard, everybody begins, and every file goes on."""
    rules = Rules(batch=BatchLimits(sounding=4))
    outcome = World(H100_ENGLISH, ByDeadline(rules, admits=False), beside(spread(40), files(8))).run(20.0)

    assert 0 == outcome.underruns
    assert 1.0 > max(outcome.first_audio_seconds)
    assert 0.8 < outcome.fairness
    assert 1.0 < outcome.bulk_times
    assert 8 == len(outcome.files)
    assert all(each.audio_seconds > 0.0 for each in outcome.files)
