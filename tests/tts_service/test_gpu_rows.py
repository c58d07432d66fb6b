"""The table of `make bench-gpu`: every row that the parts make, met or missed by its bound."""

import copy
from typing import Any

from benchmarks.gpu_rows import Row, rows_of

TIMES = {"count": 24, "p50_ms": 70.0, "p95_ms": 75.0, "p99_ms": 79.0, "max_ms": 80.0}
ENGLISH: dict[str, Any] = {
    "start": {"ready_seconds": 15.0, "VmHWM": 2_000.0, "weights_mib": 3_000.0},
    "first_audio": TIMES,
    "speech_seconds": 10.3,
    "real_time_factor": 0.05,
    "wake": {**TIMES, "p50_ms": 160.0},
    "chunks": {
        "gaps": {"away": {"count": 200}, "moving": {"count": 200}},
        "offload_ratio": 1.004,
        "offload_turns": 24,
        "moves_p99_ratio": 1.08,
        "noise_p99_ratio": 1.1,
    },
    "device_mib": {"speaking": 2_100.0, "idle": 590.0},
    "speech_sha256": "as it is",
}
UPSTREAM = {"wake_ms": 2_000.0, "first_audio_ms": 1_500.0, "real_time_factor": 0.47, "t3_step_ms": 16.5}


def test_part_that_was_not_run_leaves_its_rows_out() -> None:
    """A table of what is there is worth having; a missing row is no zero."""
    rows = rows_of({"english": ENGLISH})

    assert {
        "evict_ms_per_gib",
        "restore_fraction_of_copy",
        "t3_step_ms",
        "first_audio_ms_turbo",
        "rtf_turbo",
    }.isdisjoint(rows)
    assert {"first_audio_ms_english", "wake_first_audio_ms", "device_mb_idle", "ready_seconds"} <= rows.keys()


def test_rows_say_upstreams_value_and_whether_the_bound_is_kept() -> None:
    """What is missed is told as missed, beside what upstream takes."""
    rows = rows_of({"english": ENGLISH, "upstream_english": UPSTREAM})

    assert (160.0, 2_000.0, False) == (
        rows["wake_first_audio_ms"].value,
        rows["wake_first_audio_ms"].peer,
        rows["wake_first_audio_ms"].is_met,
    )
    assert rows["first_audio_ms_english"].is_met
    assert rows["rtf_english"].peer == 0.47


def test_moves_are_judged_by_the_noise_of_the_same_run() -> None:
    """Chunks beside moves may differ by what two halves without moves differ by, and by no more."""
    worse = copy.deepcopy(ENGLISH)
    worse["chunks"]["moves_p99_ratio"] = 1.2

    found = [rows_of({"english": each})["moves_chunk_p99_ratio"].is_met for each in (ENGLISH, worse)]

    assert [True, False] == found


def test_service_without_a_gpu_has_no_rows_of_device_memory() -> None:
    """The rehearsal on a CPU goes to its end, and claims nothing."""
    rehearsed = {name: value for name, value in ENGLISH.items() if name != "device_mib"}

    assert {"device_mb_speaking", "device_mb_idle"}.isdisjoint(rows_of({"english": rehearsed}))


def test_row_where_more_is_better_is_missed_below_its_bound() -> None:
    """A restore at three quarters of a copy's rate is too slow."""
    row = Row(value=0.75, unit="of pinned copy", least=0.85)

    assert (
        False,
        {"value": 0.75, "unit": "of pinned copy", "peer": None, "plain": None, "spread": "", "least": 0.85},
    ) == (
        row.is_met,
        row.fields(),
    )


def test_speech_within_a_budget_must_be_the_same() -> None:
    """One sample that differs misses the row, whatever the time it took."""
    low = {"first_audio": TIMES, "real_time_factor": 0.3, "device_mib": {"speaking": 1_900.0}}
    rows = [
        rows_of({"english": ENGLISH, "low_memory": {**low, "speech_sha256": heard}})["low_memory_changed"]
        for heard in ("as it is", "otherwise")
    ]

    assert [True, False] == [row.is_met for row in rows]


def test_captured_speech_is_judged_by_what_changed_and_by_its_error() -> None:
    """A thousand cycles may change nothing, and rounding may differ by a thousandth of the peak."""
    captured = {
        "cycles": {"cycles": 1_000, "utterances": 20, "samples": 9_600, "changed": 0},
        "fp32": {"tokens_same": 120, "tokens_compared": 120, "mel": 2e-5, "waveform": 2e-3},
    }
    rows = rows_of({"captured": captured})

    assert (True, False) == (rows["cycles_changed"].is_met, rows["captured_error"].is_met)
    assert "2.0e-05 of peak" == rows["captured_error"].shown(2e-5)
