"""Values as words."""

from datetime import UTC

import pytest

from memctl.format import (
    clock,
    date_and_clock,
    exact_bytes,
    exact_duration,
    exact_percent,
    exact_value,
    short_ago,
    short_bytes,
    short_duration,
)
from memctl.settings import BY_NAME


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0B"),
        (1, "1B"),
        (1_000, "1KB"),
        (1_024, "1KiB"),
        (2**31, "2GiB"),
        (1_500_000_000, "1.5GB"),
        (3 * 2**29, "1.5GiB"),
        (123_456_789, "123456789B"),
        (2**40, "1TiB"),
        (2**63 - 1, "9223372036854775807B"),
    ],
)
def test_exact_size_is_the_shortest_text_that_means_it(count: int, words: str) -> None:
    """An exact size takes the unit that says it in the fewest characters."""
    assert words == exact_bytes(count)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0s"),
        (0.000001, "0.001ms"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90, "1m30s"),
        (3_600, "1h"),
        (5_400, "1h30m"),
        (2_592_000, "720h"),
    ],
)
def test_exact_length_of_time_reads_as_it_is_typed(seconds: float, words: str) -> None:
    """An exact length of time keeps every microsecond and no idle zero."""
    assert words == exact_duration(seconds)


@pytest.mark.parametrize(("percent", "words"), [(0.0, "0%"), (15.0, "15%"), (12.5, "12.5%"), (1e-7, "0.0000001%")])
def test_exact_share_has_no_exponent(percent: float, words: str) -> None:
    """A share is written out."""
    assert words == exact_percent(percent)


@pytest.mark.parametrize("name", ["low", "grace", "worst_fill_bytes_per_second", "dry_run"])
def test_value_that_was_not_told_is_a_dash(name: str) -> None:
    """A number that an older daemon does not tell is a dash, of every kind."""
    assert "-" == exact_value(BY_NAME[name], None)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (None, "-"),
        (0, "0 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (10 * 2**20, "10.0 MiB"),
        (112 * 2**20, "112 MiB"),
        (2**30 - 1, "1.0 GiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_short_size_has_three_digits_or_so(count: int | None, words: str) -> None:
    """A size for eyes is rounded, and never shows four digits where the next unit would do."""
    assert words == short_bytes(count)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "-"),
        (0.0, "0 ms"),
        (0.0004, "0.4 ms"),
        (0.0352, "35 ms"),
        (1.0, "1 s"),
        (9.97, "10 s"),
        (59.0, "59 s"),
        (90.0, "1.5 min"),
        (7_200.0, "2 h"),
        (172_800.0, "2 d"),
    ],
)
def test_short_length_of_time_has_two_digits_or_so(seconds: float | None, words: str) -> None:
    """A length of time for eyes is rounded."""
    assert words == short_duration(seconds)


@pytest.mark.parametrize(
    ("then", "words"), [(None, "never"), (100.0, "now"), (99.5, "now"), (95.0, "5 s"), (105.0, "now")]
)
def test_how_long_ago_knows_never_and_now(then: float | None, words: str) -> None:
    """What never was is never; what is less than a second old, or ahead by a skewed clock, is now."""
    assert words == short_ago(then, 100.0)


def test_moments_are_told_in_the_readers_zone() -> None:
    """A moment is the time of day, with the day where it may be long ago; none is a dash."""
    assert ["00:01:40", "1970-01-01 00:01:40", "-", "-"] == [
        clock(100.0, UTC),
        date_and_clock(100.0, UTC),
        clock(None, UTC),
        date_and_clock(None, UTC),
    ]
