"""Reports one after the other: each says what its message says, and what did not change is not made anew."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.memory.v1 import residency_pb2
from memory_daemon.report_reading import ReportReading
from memory_daemon.residency_messages import report_of

HOST, DISK, NO_TIER = residency_pb2.TIER_HOST, residency_pb2.TIER_DISK, 99


def message(seconds: int = 0, tiers: tuple[int, ...] = (HOST, HOST), **fields: Any) -> residency_pb2.ResidencyReport:
    """Return a report of modules in those tiers."""
    # Numbers that are no tiers are what a newer service may send.
    modules: list[Any] = [
        {"module": f"m{place}", "home": HOST, "tier": tier, "home_bytes": 10} for place, tier in enumerate(tiers)
    ]
    report = residency_pb2.ResidencyReport(modules=modules, **fields)
    report.time.FromSeconds(seconds)
    return report


def test_report_that_changes_nothing_shares_its_modules_and_tells_its_own_time() -> None:
    """A service that reports every second that nothing has changed costs no new values of its modules."""
    reading = ReportReading()
    first = reading.value_of(message(1, process_bytes=100))
    second = reading.value_of(message(2, process_bytes=200))

    assert first.modules is second.modules
    assert [(1.0, 100), (2.0, 200)] == [(each.unix_seconds, each.process_bytes) for each in (first, second)]


def test_module_that_stays_as_it_is_is_the_value_that_it_was() -> None:
    """Where one module moves, the others are not made anew."""
    reading = ReportReading()
    first = reading.value_of(message(tiers=(HOST, HOST)))
    second = reading.value_of(message(tiers=(HOST, DISK)))

    assert [True, False] == [now is before for now, before in zip(second.modules, first.modules, strict=True)]


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=9),
            st.lists(st.sampled_from([HOST, DISK, NO_TIER]), max_size=3).map(tuple),
            st.fixed_dictionaries({"process_bytes": st.integers(0, 2), "sessions": st.integers(0, 1)}),
        ),
        max_size=8,
    )
)
def test_any_report_says_what_its_message_says(steps: list[tuple[int, tuple[int, ...], dict[str, int]]]) -> None:
    """Whatever came before: no report is taken for another one."""
    reading = ReportReading()
    for seconds, tiers, fields in steps:
        assert report_of(message(seconds, tiers, **fields)) == reading.value_of(message(seconds, tiers, **fields))
