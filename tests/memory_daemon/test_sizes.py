"""Sizes in words: rounded where they were measured, exact where they were set, read back wherever they were printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memctl import format as memctl_format
from memctl.parse import parse_bytes as memctl_parse_bytes
from memctl.parse import parse_mark as memctl_parse_mark
from memctl.types import ByteMark, PercentMark
from memory_daemon.marks import Mark, parse_mark
from memory_daemon.sizes import exact_size_text, parse_size, size_text

SIZES = st.one_of(
    st.integers(min_value=0, max_value=2**63 - 1),
    st.integers(min_value=0, max_value=4096).map(lambda count: count * 2**30 // 1000),
    st.integers(min_value=0, max_value=4096).map(lambda count: count * 10**8),
)


@given(size_bytes=SIZES)
def test_size_that_was_set_means_the_same_bytes_wherever_it_is_typed_back(size_bytes: int) -> None:
    """The daemon's words for a number of the policy, and memctl's, are taken by both and lose no byte."""
    told = (str(Mark(size_bytes=size_bytes)), memctl_format.exact_bytes(size_bytes))

    assert told[0] == told[1]
    assert [size_bytes] * 2 == [parse_size(words) for words in told]
    assert [ByteMark(size_bytes)] * 2 == [memctl_parse_mark(words) for words in told]
    assert [Mark(size_bytes=size_bytes)] * 2 == [parse_mark(words) for words in told]


@given(percent=st.floats(min_value=0.0, max_value=100.0, allow_nan=False))
def test_share_that_was_set_means_the_same_wherever_it_is_typed_back(percent: float) -> None:
    """A mark in percent keeps every digit that counts."""
    told = str(Mark(percent=percent))

    assert memctl_format.exact_percent(percent) == told
    assert (Mark(percent=percent), PercentMark(percent)) == (parse_mark(told), memctl_parse_mark(told))


@given(size_bytes=SIZES.filter(lambda size_bytes: size_bytes < 2**62))
def test_size_that_was_measured_reads_the_same_in_sentences_and_tables(size_bytes: int) -> None:
    """One unit for one size; typed back it means what was shown, to the digits that were shown."""
    told = size_text(size_bytes)
    again = memctl_parse_bytes(told)

    assert memctl_format.short_bytes(size_bytes) == told
    assert told == size_text(again)
    assert again == parse_size(told)
    assert abs(again - size_bytes) <= 0.051 * max(size_bytes, 1)


@pytest.mark.parametrize(
    ("size_bytes", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_500_000_000, "1.4 GiB"),
        (2**41, "2.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_size_text_is_in_binary_units(size_bytes: int, words: str) -> None:
    """What is measured has three digits or so."""
    assert words == size_text(size_bytes)


@pytest.mark.parametrize("unit", ["KB", "KiB", "kB", "gib", "TB", "b", ""])
def test_size_is_read_in_every_unit_however_it_is_written(unit: str) -> None:
    """What memctl prints, KB and KiB included, is no mistake in the daemon's own flags and file."""
    assert parse_size(f"1.5 {unit}") == (memctl_parse_bytes(f"1.5 {unit}") if unit else 2)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0.7GB", 700_000_000), ("1.1TB", 1_100_000_000_000), ("4.35MB", 4_350_000)]
)
def test_decimal_fraction_is_exact(text: str, size_bytes: int) -> None:
    """A fraction is not cut off by binary arithmetic."""
    assert (size_bytes, text) == (parse_size(text), exact_size_text(size_bytes))
