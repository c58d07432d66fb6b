"""What finds a mix-up, what finds a leak, and the files that are kept."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.load.alone import Bound, Comparison, compared
from benchmarks.load.capacity import shortfall
from benchmarks.load.leaks import Standing, leaks
from benchmarks.load.load_plot import draw
from benchmarks.load.load_run import Plan
from benchmarks.load.manner import ENCODINGS, Manner
from benchmarks.load.options import parser, plan_of
from benchmarks.load.recordings import Recording, Recordings
from benchmarks.load.rows import merge, row
from benchmarks.load.served import check_loopback
from benchmarks.load.soak import soaking
from benchmarks.load.tally import Tally

TONE = (8_000 * np.sin(np.arange(4_000) / 20)).astype("<i2").tobytes()
OTHER = (8_000 * np.sin(np.arange(4_000) / 33)).astype("<i2").tobytes()
STANDING = Standing(
    processes=1,
    threads=20,
    files=30,
    sockets=5,
    resident_mib=800.0,
    sessions=0,
    queued=0,
    leases=0,
    claims=0,
    pending_moves=0,
)


def judged(data: bytes, alone: bytes, *, encoding: str = "pcm", **bound: float) -> Comparison:
    """Compare what was recorded with what was spoken alone."""
    recording = Recording(session=1, utterance_id="u", text="", data=bytearray(data))
    return compared(recording, alone, encoding=encoding, rate_hertz=1_000, bound=Bound(**bound))


@pytest.mark.parametrize("encoding", ["pcm", "opus"])
def test_recording_that_was_cut_off_equals_the_beginning_of_the_same_alone(encoding: str) -> None:
    """An interruption leaves less, but the same."""
    assert judged(TONE[:1_000], TONE, encoding=encoding).is_met


@pytest.mark.parametrize("encoding", ["pcm", "mulaw", "opus"])
def test_audio_of_another_stream_is_found(encoding: str) -> None:
    """Whatever the coding, a piece of somebody else's audio differs."""
    mixed = TONE[:4_000] + OTHER[4_000:]

    assert not judged(mixed, TONE, encoding=encoding).is_met
    assert not judged(mixed, TONE, encoding=encoding, error=0.01).is_met


def test_soak_compares_those_who_share_no_work_where_work_is_shared() -> None:
    """With the built-in voice that is everybody; with a network, who asked for it, in every encoding."""
    builtin = soaking(Plan(seconds=1.0, manner=Manner(model="builtin-female"))).manner
    english = soaking(Plan(seconds=1.0, manner=Manner(model="english"))).manner
    compared_ones = [each for each in range(60) if english.is_comparable(each)]

    assert all(builtin.is_comparable(each) and not builtin.is_reproducible(each) for each in range(60))
    assert 0 < len(compared_ones) < 30
    assert set(ENCODINGS) == {english.encoding(each) for each in compared_ones}
    assert compared_ones == [each for each in range(60) if english.first_message(each).config.reproducible]


def test_rounding_is_borne_within_the_bound_and_only_there() -> None:
    """A bound on the error lets a last bit differ, and a bound on the time ignores what comes after it."""
    samples = np.frombuffer(TONE, "<i2")
    rounded = (samples + (np.arange(4_000) % 2)).astype("<i2").tobytes()

    assert not judged(rounded, TONE).is_met
    assert judged(rounded, TONE, error=1e-3).is_met
    assert judged(TONE[:4_000] + OTHER[4_000:], TONE, error=1e-3, seconds=2.0).is_met


def test_more_audio_than_alone_is_found() -> None:
    """What the same alone never said is somebody else's."""
    assert not judged(TONE + OTHER, TONE, error=0.1).is_met


def test_recordings_are_a_fair_sample_of_bounded_size() -> None:
    """Each utterance is as likely to be kept, however many come after it."""
    kept = []
    for seed in range(400):
        recordings = Recordings(5, random.Random(seed))
        for number in range(50):
            recordings.begin(number, "u", "")
        assert 5 == len(recordings.kept)
        kept += [each.session for each in recordings.kept]

    assert all(20 <= sum(10 * tenth <= each < 10 * tenth + 10 for each in kept) / 10 <= 60 for tenth in range(5))


def test_service_that_is_as_it_was_leaks_nothing() -> None:
    """Pools that grew a little and memory that an allocator keeps are no leak."""
    assert [] == leaks(STANDING, replace(STANDING, threads=30, resident_mib=850.0))


@pytest.mark.parametrize(
    "after",
    [
        replace(STANDING, sessions=1),
        replace(STANDING, leases=1),
        replace(STANDING, claims=2),
        replace(STANDING, threads=60),
        replace(STANDING, files=60),
        replace(STANDING, sockets=30),
        replace(STANDING, processes=2),
        replace(STANDING, resident_mib=1_000.0),
    ],
)
def test_what_stays_behind_is_one_leak(after: Standing) -> None:
    """Each kind is found by itself."""
    assert 1 == len(leaks(STANDING, after))


def test_rows_are_merged_into_what_other_runs_found(tmp_path: Path) -> None:
    """A row is renewed with its reach and its run; rows of other runs stay."""
    path = tmp_path / "load.json"
    merge(path, dict([row("sessions_english", 10), row("reject_ms", 4.2)]), {"command": "first"})
    merge(path, dict([row("sessions_english", 70)]), {"command": "second"})
    rows = json.loads(path.read_text())["rows"]

    assert {"value": 70, "unit": "sessions", "reach": 64, "met": True, "command": "second"}.items() <= rows[
        "sessions_english"
    ].items()
    assert {"value": 4.2, "unit": "ms", "reach": 10, "met": True, "command": "first"}.items() <= rows[
        "reject_ms"
    ].items()


def test_run_falls_short_by_a_reject_a_failure_an_underrun_or_a_late_first_audio() -> None:
    """Only a run in which all began, and nobody missed or waited for anything, was real time."""
    fine, rejected, failed, slow, silent, refused = (Tally(seconds=1.0) for _ in range(6))
    for tally in (fine, rejected, failed, slow, silent, refused):
        tally.opened()
        tally.first_audio.add(0.1)
    rejected.rejected("AT_CAPACITY", 0.01, retry_after_seconds=1.0)
    failed.failures["ENGINE_FAULT"] += 1
    silent.finding("session 3 heard nothing for 60 s")
    refused.refusals["BAD_CONFIG"] += 1
    for _ in range(3):
        slow.first_audio.add(5.0)

    assert "" == shortfall(fine, 1)
    assert "only 1 began" == shortfall(fine, 2)
    assert "rejected: AT_CAPACITY" == shortfall(rejected, 1)
    assert "failed: ENGINE_FAULT" == shortfall(failed, 1)
    assert "first audio" in shortfall(slow, 1)
    assert "heard nothing for 60 s" in shortfall(silent, 1)
    assert "refused in mid-session: BAD_CONFIG" == shortfall(refused, 1)


def test_timeline_is_bounded_and_is_drawn(tmp_path: Path) -> None:
    """A run of any length has as many slices at most; where nobody comes or goes, as many stay open."""
    tally = Tally(seconds=40_000.0)
    tally.timeline.opened(0.0, 3)
    tally.timeline.heard(150.0, 0.2)
    tally.timeline.underrun(1e9)
    told = tally.timeline.fields()
    draw(told, tmp_path / "run.png")

    assert len(told) <= 401
    assert {3} == {each["open"] for each in told}
    assert 1 == told[-1]["underruns"]
    assert (tmp_path / "run.png").stat().st_size > 1_000


def test_load_is_put_on_this_machine_only() -> None:
    """An address elsewhere is refused."""
    check_loopback("127.0.0.1:50051")
    with pytest.raises(ValueError, match="not on this machine"):
        check_loopback("198.51.100.7:50051")


def test_command_line_without_a_word_holds_some_sessions() -> None:
    """What is not said is chosen so that a small machine bears it; arrivals and bulk take the place of sessions."""
    plain, bulk = (plan_of(parser().parse_args(words)) for words in ([], ["--bulk", "4", "--model", "english"]))

    assert (8, 0, 20.0) == (plain.sessions, plain.readers, plain.seconds)
    assert (0, 4, 120.0) == (bulk.sessions, bulk.readers, bulk.seconds)
