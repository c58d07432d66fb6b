"""How busy the service is taken to be, from figures and from what was measured."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.scheduling.admission import AdmissionLimits, Door, asked
from tts_service.scheduling.capacity import Standing, Usage
from tts_service.scheduling.figures import H100_ENGLISH
from tts_service.scheduling.utilisation import (
    CPU_SECONDS,
    FRONT_SHARE,
    Company,
    Machine,
    Part,
    Runs,
    Seen,
    Utilisation,
    demand,
    joined,
    measured,
    on_cpu,
    on_device,
    shares,
    standing_with,
)
from tts_service.scheduling.verdicts import Admitted, Applicant
from tts_service.scheduling.work import Together

CPU = on_cpu(2)
NOBODY = Utilisation(at=0.0)


def standing(known: Utilisation, company: Company, machine: Machine = CPU) -> Standing:
    """Return how a machine stands."""
    return standing_with(known, machine, company, listening_share=0.25)


def after(
    seconds: int, *, speakers: float, cost: float, known: Utilisation = NOBODY, machine: Machine = CPU, gaps: int = 0
) -> Utilisation:
    """Return what is known after paced speakers spoke for so long, each second of which took this share of sound."""
    for second in range(seconds):
        seen = Seen(
            busy_seconds={Part.SOUND: speakers * cost, Part.FRONT: speakers * FRONT_SHARE},
            audio_seconds=speakers,
            paced_seconds=speakers,
            gaps=gaps,
            sessions=round(speakers),
        )
        known = measured(known, seen, machine, known.at + 1.0)
        del second
    return known


def crowd_of(number: int) -> Utilisation:
    """Return what is known when so many have just come in."""
    known = NOBODY
    for _ in range(number):
        known = joined(known)
    return known


def test_first_session_always_comes_in() -> None:
    """Where nobody is there is room, whatever was measured of those who were there before."""
    slow = after(300, speakers=1.0, cost=0.95)

    assert 0.0 == standing(slow, Company()).load
    assert standing(slow, Company()).load_with_one < 0.01
    assert standing(slow, Company(paced=1)).load > 0.88


def test_machine_that_keeps_up_with_nobody_counts_sessions_only() -> None:
    """Where one speaker is too many, refusing the second would keep nothing in real time."""
    slow = after(60, speakers=1.0, cost=3.0)

    assert 0.0 == standing(slow, Company(paced=5)).load


def test_flood_of_messages_is_not_taken_for_what_speech_costs() -> None:
    """An event loop that was busy with something else beside one speaker does not shut the door to a second one."""
    known = NOBODY
    for _ in range(30):
        busy = {Part.SOUND: CPU_SECONDS / 2, Part.FRONT: 0.9}
        known = measured(known, Seen(busy_seconds=busy, audio_seconds=1.0, paced_seconds=1.0), CPU, known.at + 1.0)

    assert standing(known, Company(paced=1)).load_with_one < AdmissionLimits().full / 5


def test_newcomers_count_as_speakers_before_they_were_seen_to_speak() -> None:
    """Twenty that came at once are a load of twenty, though nothing of them was measured yet."""
    known = crowd_of(20)

    assert pytest.approx(20 * CPU_SECONDS / 2) == standing(known, Company(paced=20)).load


def test_sessions_that_hardly_speak_make_room_for_others() -> None:
    """Who was seen to speak a tenth of the time counts for the least share, not for a speaker."""
    quiet = after(60, speakers=2.0, cost=CPU_SECONDS / 2, known=crowd_of(20))

    assert pytest.approx(5.0) == demand(quiet, Company(paced=20), listening_share=0.25)
    assert pytest.approx(2.0, abs=0.1) == demand(quiet, Company(paced=20), listening_share=0.0)


def test_nobody_counts_for_more_than_one_speaker() -> None:
    """Audio that is sent ahead at the beginning of an utterance is no lasting demand."""
    burst = after(3, speakers=30.0, cost=0.01)

    assert 4.0 == demand(burst, Company(paced=4), listening_share=0.25)


def test_unpaced_sessions_count_as_one_speaker_each() -> None:
    """They take what they get, and real time is all that they were promised."""
    assert 3.0 == demand(NOBODY, Company(unpaced=3), listening_share=0.25)


@pytest.mark.parametrize("wrong_by", [0.3, 3.0])
def test_measured_cost_replaces_the_figures(wrong_by: float) -> None:
    """A machine that is slower or faster than the figures is believed within seconds of its work."""
    cost = wrong_by * CPU_SECONDS / 2
    known = after(30, speakers=10.0, cost=cost)

    assert pytest.approx(wrong_by, rel=0.15) == known.corrections[Part.SOUND].factor
    assert pytest.approx(10 * cost, rel=0.15) == standing(known, Company(paced=10)).load


def test_part_that_tells_of_its_runs_is_not_judged_by_its_share_of_the_time() -> None:
    """A lane that is busy all the time with few, because it waits for nobody, has room for many all the same."""
    device = on_device(H100_ENGLISH, Together(segments=32, chunks=8), Usage())
    known = NOBODY
    for _ in range(30):
        seen = Seen(
            busy_seconds={Part.TOKENS: 0.9, Part.SOUND: 0.8},
            runs={part: Runs(seconds=0.6, expected_seconds=0.5) for part in (Part.TOKENS, Part.SOUND)},
            audio_seconds=8.0,
            paced_seconds=8.0,
            sessions=8,
        )
        known = measured(known, seen, device, known.at + 1.0)
    by_figures = shares(NOBODY, device, 8.0)

    assert {Part.TOKENS, Part.SOUND} == known.by_runs
    for part in (Part.TOKENS, Part.SOUND):
        assert pytest.approx(1.2, rel=0.05) == known.corrections[part].factor
        assert pytest.approx(1.2 * by_figures[part], rel=0.05) == shares(known, device, 8.0)[part]
    assert standing(known, Company(paced=8), device).load < 0.3


def test_audio_that_was_made_earlier_does_not_make_runs_seem_cheap() -> None:
    """While what is there already is sent, a part that tells of its runs has none to tell of: it learns nothing."""
    device = on_device(H100_ENGLISH, Together(segments=32, chunks=8), Usage())
    told = Seen(runs={Part.SOUND: Runs(seconds=2.0, expected_seconds=1.0)}, audio_seconds=8.0)
    known = measured(NOBODY, told, device, 1.0)
    factor = known.corrections[Part.SOUND].factor
    later = measured(known, Seen(audio_seconds=100.0), device, 2.0)

    assert factor == later.corrections[Part.SOUND].factor
    assert factor > 1.5


def test_idle_service_learns_nothing() -> None:
    """What the event loop takes while nobody speaks is no cost of speech."""
    known = measured(NOBODY, Seen(busy_seconds={Part.FRONT: 0.9}), CPU, 100.0)

    assert {} == known.corrections
    assert pytest.approx(0.009, rel=0.01) == known.busy[Part.FRONT]


def test_gaps_are_late_work_that_is_forgotten_though_nobody_speaks() -> None:
    """A gap a second of two speakers is a lot; a minute of silence later the door need not stay shut for it."""
    known = after(20, speakers=2.0, cost=0.01, gaps=1)
    late = standing(known, Company(paced=2)).late_share
    silent = measured(known, Seen(), CPU, known.at + 60.0)

    assert pytest.approx(0.5, rel=0.2) == late
    assert standing(silent, Company(paced=2)).late_share < 0.01


def test_single_gap_does_not_keep_the_second_caller_out() -> None:
    """What held the machine up once, such as a client's flood of messages, is no sign that two are too many."""
    once, twice = (
        measured(joined(NOBODY), Seen(gaps=gaps, audio_seconds=1.0, sessions=1), CPU, NOBODY.at + 0.5)
        for gaps in (1, 2)
    )

    assert 0.0 == standing(once, Company(paced=1)).late_share
    assert standing(twice, Company(paced=1)).late_share > AdmissionLimits().late_share


def test_gaps_of_a_crowd_do_not_shut_the_door_for_those_who_come_after_it() -> None:
    """Forty who ran dry tell nothing of the second one who comes when they have gone, and much of the fortieth."""
    crowd = after(20, speakers=40.0, cost=0.01, gaps=8, known=crowd_of(40))
    gone = measured(crowd, Seen(), CPU, crowd.at + 20.0)

    assert standing(crowd, Company(paced=40)).late_share > AdmissionLimits().late_share
    assert gone.gap_rate > AdmissionLimits().late_share
    assert 0.0 == standing(gone, Company(paced=2)).late_share
    assert standing(gone, Company(paced=160)).late_share > AdmissionLimits().late_share


def test_gaps_of_few_count_though_many_had_gaps_before() -> None:
    """What a small company suffers from is not the crowd's."""
    crowd = after(20, speakers=40.0, cost=0.01, gaps=8, known=crowd_of(40))
    few = after(20, speakers=4.0, cost=0.01, gaps=1, known=crowd)

    assert standing(few, Company(paced=4)).late_share > AdmissionLimits().late_share


def test_figures_of_a_device_hold_more_sessions_together_than_in_turns() -> None:
    """What is computed at once decides how many fit."""
    few, many = (
        shares(NOBODY, on_device(H100_ENGLISH, Together(segments=s, chunks=c), Usage()), 32.0)
        for s, c in ((1, 1), (32, 8))
    )

    assert few[Part.TOKENS] > 3 * many[Part.TOKENS]
    assert few[Part.SOUND] > 1.5 * many[Part.SOUND]


@pytest.mark.parametrize("cost", [0.01, 0.03, 0.1])
def test_door_lets_in_what_the_machine_bears_whatever_the_figures_said(cost: float) -> None:
    """One asks every second: of what is short, those who are inside take nearly all, and not too much."""
    known, door, limits, inside = NOBODY, Door(), AdmissionLimits(queue=0), 0
    for number in range(300):
        now = float(number)
        seen = Seen(busy_seconds={Part.SOUND: inside * cost}, audio_seconds=inside, paced_seconds=inside)
        known = measured(known, seen, CPU, now)
        applicant = Applicant(key=number, client="x")
        door, verdict = asked(door, applicant, standing(known, Company(paced=inside)), limits, now)
        if isinstance(verdict, Admitted):
            known, inside = joined(known), inside + 1

    assert 0.75 <= inside * cost <= 1.0


@given(
    speakers=st.floats(min_value=0.0, max_value=200.0),
    cost=st.floats(min_value=0.0, max_value=2.0),
    seconds=st.integers(min_value=0, max_value=30),
    paced=st.integers(min_value=0, max_value=200),
    unpaced=st.integers(min_value=0, max_value=5),
)
@settings(deadline=None, max_examples=60)
def test_one_session_more_is_always_more_load(
    speakers: float, cost: float, seconds: int, paced: int, unpaced: int
) -> None:
    """Whatever was measured, the standing is one that admission can decide by."""
    found = standing(after(seconds, speakers=speakers, cost=cost), Company(paced=paced, unpaced=unpaced))

    assert 0.0 <= found.load < found.load_with_one
    assert found.first_audio_seconds > 0.0
