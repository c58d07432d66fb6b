"""An utterance from the listener's side: what is late, whose fault it is, and what must never come."""

import math

import pytest

from benchmarks.load.allowance import Allowance
from benchmarks.load.heard import Chunk, Heard
from benchmarks.load.tally import Tally
from benchmarks.load.turn import Cancel, End, Over, Report, Say, Step, Turn, Wait

RATE_HERTZ = 1_000
TWO = "One sentence is here. And here is another one."


def listener(**changes: float) -> Heard:
    """Return a listener whose lead is a second."""
    return Heard("u", rate_hertz=RATE_HERTZ, ahead_seconds=1.002, **changes)


def hear(heard: Heard, sequence: int, *, samples: int, now: float) -> float | None:
    """Let a piece come, right after what came before."""
    return heard.chunk(Chunk(sequence=sequence, sample_offset=heard.samples, sample_count=samples), now)


def test_first_audio_counts_from_the_text_that_its_segment_needed() -> None:
    """A sentence is certain once the next one begins; what is written later does not count."""
    heard = listener()
    for at, piece in enumerate(TWO.split(" ")):
        heard.text.write(piece if at == 0 else f" {piece}", float(at))
    hear(heard, 0, samples=100, now=4.25)

    assert 4.0 == heard.text.first_segment_at
    assert 0.25 == heard.first_audio_seconds
    assert 4.25 == heard.first_audio_since_text_seconds


def test_gap_is_the_services_only_if_its_words_were_there_before_it_began() -> None:
    """Of two gaps, the one whose sentence was written too late is the client's own."""
    heard = listener()
    heard.text.write("One sentence is here. And", 0.0)
    hear(heard, 0, samples=100, now=1.0)
    hear(heard, 1, samples=100, now=1.5)
    heard.segment(text_start=0, text_end=22, sample_end=200)
    heard.text.write(" here is another one.", 2.0)
    heard.text.end(2.0)
    hear(heard, 2, samples=100, now=2.5)
    heard.segment(text_start=22, text_end=46, sample_end=300)
    heard.done(300)

    assert [True, False] == [each.is_service for each in heard.underruns()]
    assert [] == heard.faults


def test_gap_that_lasts_when_the_listener_goes_is_an_underrun() -> None:
    """A run that ends does not end a wait without a word about it."""
    heard = listener()
    heard.text.write("All of it.", 0.0)
    heard.text.end(0.0)
    hear(heard, 0, samples=100, now=1.0)
    heard.cut_off(5.0)

    assert [pytest.approx(3.9)] == [each.gap.seconds for each in heard.underruns() if each.is_service]


def test_wait_for_first_audio_that_lasts_when_the_listener_goes_is_not_forgotten() -> None:
    """A service that never answers has no small latencies."""
    heard = listener()
    heard.text.write("All of it.", 0.0)
    heard.text.end(0.5)
    heard.cut_off(5.0)
    tally = Tally(seconds=1.0)
    tally.heard(0, heard)

    assert 4.5 == heard.waited_seconds
    assert 4.5 == tally.first_audio.max_seconds


def test_chunk_costs_what_passes_between_room_for_it_and_its_arrival() -> None:
    """Audio that fits into the lead costs nothing, and what filled the lead slowly is no delivery."""
    heard = listener()
    heard.text.write("All of it.", 0.0)
    heard.text.end(0.0)
    costs = [hear(heard, 0, samples=1_000, now=0.5)]
    heard.allowance.report(0.25, 1.0)
    costs.append(hear(heard, 1, samples=250, now=1.004))
    heard.allowance.report(0.5, 1.25)
    costs.append(hear(heard, 2, samples=250, now=1.26))

    assert [None, pytest.approx(0.004), pytest.approx(0.01)] == costs


def test_room_is_made_by_the_first_report_that_suffices() -> None:
    """Reports that made too little are forgotten; audio within the lead needs none."""
    allowance = Allowance(ahead_seconds=1.002)
    for at in range(4):
        allowance.report(0.25 * at, float(at))

    assert [None, 1.0, 3.0, None] == [allowance.due_at(end) for end in (0.9, 1.2, 1.75, 2.0)]


@pytest.mark.parametrize(
    ("sequence", "offset", "words"),
    [(2, 100, "chunk 2 came where 1 was next"), (1, 150, "audio at sample 150 came where 100 was next")],
)
def test_hole_in_the_stream_is_a_fault(sequence: int, offset: int, words: str) -> None:
    """Chunks follow one another in number and in sample."""
    heard = listener()
    hear(heard, 0, samples=100, now=1.0)
    heard.chunk(Chunk(sequence=sequence, sample_offset=offset, sample_count=10), 1.05)

    assert [words] == heard.faults


def test_audio_after_the_acknowledgement_is_a_fault() -> None:
    """Nothing is heard of what was interrupted."""
    heard = listener()
    hear(heard, 0, samples=100, now=1.0)
    heard.cancelled()
    hear(heard, 1, samples=100, now=1.05)

    assert ["audio after CANCELLED"] == heard.faults


def test_text_that_was_not_spoken_and_samples_that_did_not_come_are_faults() -> None:
    """An utterance that is done has said all of its text, and everything that was sent has come."""
    heard = listener()
    heard.text.write(TWO, 0.0)
    heard.text.end(0.0)
    hear(heard, 0, samples=100, now=1.0)
    heard.segment(text_start=0, text_end=22, sample_end=100)
    heard.done(250)

    assert ["250 samples were sent, and 100 came", "of 46 bytes of text 22 were spoken"] == heard.faults


def steps(turn: Turn, now: float) -> list[Step]:
    """Return what a client does at one moment, up to a wait or the end."""
    found: list[Step] = []
    while not found or not isinstance(found[-1], Wait | Over):
        found.append(turn.next(now))
    return found


def test_turn_writes_its_pieces_at_their_times_and_then_the_end() -> None:
    """Words come one by one; between them the client waits for the next one's time."""
    turn = Turn(listener(), [(0.0, "One"), (0.5, " two.")])

    assert [Say(text="One"), Wait(until=0.5)] == steps(turn, 0.0)
    assert [Say(text=" two."), End(), Wait(until=math.inf)] == steps(turn, 0.5)


def test_turn_reports_playback_now_and_then_and_its_end_once() -> None:
    """Reports follow what was played, also where nothing moves; the turn is over when all was heard."""
    heard = listener()
    turn = Turn(heard, [(0.0, "All.")], report_seconds=0.25)
    steps(turn, 0.0)
    hear(heard, 0, samples=600, now=1.0)
    reports = [step for now in (1.0, 1.1, 1.25, 1.5) for step in steps(turn, now) if isinstance(step, Report)]
    heard.done(600)

    assert [0, 250, 500] == [report.samples for report in reports]
    assert [Wait(until=1.6)] == steps(turn, 1.55)
    assert [Report(samples=600), Over()] == steps(turn, 1.6)


def test_turn_is_interrupted_where_the_listener_wanted_it_and_waits_for_the_word() -> None:
    """The cancel says what was heard, nothing more is written, and the turn is over with the acknowledgement."""
    heard = listener()
    turn = Turn(heard, [(0.0, "One"), (9.0, " two.")], report_seconds=0.0, barge_in_seconds=0.4)
    steps(turn, 0.0)
    hear(heard, 0, samples=600, now=1.0)

    assert [Wait(until=1.4)] == steps(turn, 1.2)
    assert [Cancel(heard_samples=400), Wait(until=math.inf)] == steps(turn, 1.4)
    heard.cancelled()
    assert [Over()] == steps(turn, 1.5)


def test_turn_that_nobody_paces_is_over_when_the_service_is() -> None:
    """Who reads a file does not wait for ears."""
    heard = listener()
    turn = Turn(heard, [(0.0, "All.")], is_paced=False)
    steps(turn, 0.0)
    hear(heard, 0, samples=60_000, now=1.0)
    heard.done(60_000)

    assert [Over()] == steps(turn, 1.1)
