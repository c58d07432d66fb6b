"""Samples, means, peaks and counts."""

from tts_service.residency.history import (
    MOVES_KEPT,
    SAMPLES_KEPT,
    MemoryHistory,
    MemorySample,
    MoveTally,
    Phase,
    PhaseUsage,
)
from tts_service.residency.types import ModuleState, ModuleStatus, Tier
from tts_service.types import ModuleName

A, B = ModuleName("a"), ModuleName("b")


def _sample(process_bytes: int, home_bytes: int, phase: Phase = Phase.IDLE) -> MemorySample:
    return MemorySample(unix_seconds=0.0, phase=phase, process_bytes=process_bytes, home_bytes=home_bytes)


def _status(module: ModuleName, home_bytes: int, moves: int = 0) -> ModuleStatus:
    return ModuleStatus(
        module=module,
        home=Tier.HOST,
        tier=Tier.HOST,
        state=ModuleState.RESTING,
        home_bytes=home_bytes,
        restores=moves + 1,
        evictions=moves,
    )


def test_report_holds_means_and_peaks_by_phase() -> None:
    """Each phase has its own numbers; a phase without samples is left out."""
    history = MemoryHistory()
    for sample in (_sample(100, 10), _sample(300, 20), _sample(900, 40, Phase.SPEAKING)):
        history.record(sample)
    report = history.report((), MoveTally(), max_samples=10)

    assert (
        PhaseUsage(
            phase=Phase.IDLE,
            samples=2,
            average_process_bytes=200,
            peak_process_bytes=300,
            average_home_bytes=15,
            peak_home_bytes=20,
        ),
        PhaseUsage(
            phase=Phase.SPEAKING,
            samples=1,
            average_process_bytes=900,
            peak_process_bytes=900,
            average_home_bytes=40,
            peak_home_bytes=40,
        ),
    ) == report.phases


def test_report_holds_peaks_over_everything_and_counts_of_moves() -> None:
    """Totals come from all samples, modules and moves."""
    history, tally = MemoryHistory(), MoveTally()
    for sample in (_sample(100, 0), _sample(900, 40), _sample(300, 20)):
        history.record(sample)
    tally.restored(A, home_bytes=30, seconds=1.0)
    tally.evicted(A, released_bytes=28, seconds=0.1)
    report = history.report((_status(A, 30, moves=2), _status(B, 50, moves=1)), tally, max_samples=10)

    assert (900, 40, 20, 80, 0.75, 5, 3, 30, 28) == (
        report.peak_process_bytes,
        report.peak_home_bytes,
        report.average_home_bytes,
        report.all_home_bytes,
        report.efficiency,
        report.restores,
        report.evictions,
        report.restored_bytes,
        report.released_bytes,
    )


def test_report_holds_the_newest_samples_oldest_first() -> None:
    """At most as many as were asked for."""
    history = MemoryHistory()
    for number in range(5):
        history.record(_sample(number, 0))
    report = history.report((), MoveTally(), max_samples=2)

    assert [3, 4] == [sample.process_bytes for sample in report.samples]


def test_report_before_the_first_sample_is_empty() -> None:
    """Nothing measured is nothing saved."""
    report = MemoryHistory().report((_status(A, 30),), MoveTally(), max_samples=10)

    assert ((), (), 0, 0.0) == (report.samples, report.phases, report.peak_process_bytes, report.efficiency)


def test_history_keeps_a_bounded_number_of_samples_and_all_sums() -> None:
    """A long life forgets old samples and not the peak."""
    history = MemoryHistory()
    history.record(_sample(1 << 20, 0))
    for _ in range(SAMPLES_KEPT):
        history.record(_sample(0, 0))
    report = history.report((), MoveTally(), max_samples=SAMPLES_KEPT + 1)

    assert (SAMPLES_KEPT, SAMPLES_KEPT + 1, 1 << 20, "<MemoryHistory 10001 samples | peak 1 MiB>") == (
        len(report.samples),
        report.phases[0].samples,
        report.peak_process_bytes,
        repr(history),
    )


def test_tally_gives_the_median_of_the_last_moves() -> None:
    """One slow move does not tilt the expected time, and old ones are forgotten."""
    tally = MoveTally()
    for seconds in (9.0, *([0.2] * MOVES_KEPT), 5.0):
        tally.restored(A, home_bytes=1, seconds=seconds)

    assert (0.2, None, MOVES_KEPT + 2) == (tally.restore_seconds(A), tally.evict_seconds(A), tally.restores(A))


def test_tally_keeps_the_times_from_each_tier_apart() -> None:
    """A restore from disk says nothing about one from host memory."""
    tally = MoveTally()
    tally.restored(A, home_bytes=1, seconds=3.0, source=Tier.DISK)
    tally.timed(A, seconds=0.1, source=Tier.HOST)

    assert (3.0, 0.1, 1) == (
        tally.restore_seconds(A, Tier.DISK),
        tally.restore_seconds(A, Tier.HOST),
        tally.restores(A),
    )


def test_tally_counts_waits_with_their_time() -> None:
    """Every request that had to wait adds to both."""
    tally = MoveTally()
    tally.waited(0.5)
    tally.waited(1.0)

    assert (2, 1.5, "<MoveTally 0 restores | 0 evictions | 2 waits>") == (
        tally.restore_waits,
        tally.restore_wait_seconds,
        repr(tally),
    )


def test_report_of_a_device_has_its_means_and_peaks() -> None:
    """What was held of the device is told by phase and as a whole; samples without it have none."""
    history = MemoryHistory()
    for device_bytes in (100, 300):
        history.record(
            MemorySample(unix_seconds=0.0, phase=Phase.IDLE, process_bytes=1, home_bytes=1, device_bytes=device_bytes)
        )
    report, without = history.report((), MoveTally(), max_samples=10), MemoryHistory()
    without.record(_sample(1, 1))

    assert (200, 300, 300) == (
        report.phases[0].average_device_bytes,
        report.phases[0].peak_device_bytes,
        report.peak_device_bytes,
    )
    assert without.report((), MoveTally(), max_samples=1).peak_device_bytes is None


def test_history_that_keeps_nothing_says_so() -> None:
    """Samples that are given to it are forgotten."""
    history = MemoryHistory(keeps=False)
    history.record(_sample(5, 5))
    report = history.report((), MoveTally(), max_samples=10)

    assert (False, (), 0) == (report.history_kept, report.samples, report.peak_process_bytes)
