"""The policy's numbers: what a mark means, and what contradicts what."""

from dataclasses import replace

import pytest

from memory_daemon.marks import (
    GPU_POLICY,
    HOST_POLICY,
    Mark,
    Policy,
    changes,
    parse_mark,
    pressure_of,
    resolve,
    violations,
)
from memory_daemon.types import HOST, MemorySample, Pressure

GB = 10**9
NAN = float("nan")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500000000", Mark(size_bytes=500_000_000)),
        ("1.5GB", Mark(size_bytes=1_500_000_000)),
        ("2 GiB", Mark(size_bytes=2 * 2**30)),
        ("512MiB", Mark(size_bytes=512 * 2**20)),
        ("10%", Mark(percent=10.0)),
        (" 2.5 % ", Mark(percent=2.5)),
        ("0", Mark(size_bytes=0)),
    ],
)
def test_parse_mark_with_size_or_share(text: str, expected: Mark) -> None:
    """Sizes in decimal or binary units and shares of the total are marks."""
    actual = parse_mark(text)

    assert expected == actual


@pytest.mark.parametrize("text", ["", "much", "-1GB", "10 %%", "1e9", "5XB", "nan%", "1,5GB"])
def test_parse_mark_with_anything_else_says_what_is_allowed(text: str) -> None:
    """What is no mark is refused with an example of one."""
    with pytest.raises(ValueError, match="is no mark: write bytes such as"):
        parse_mark(text)


@pytest.mark.parametrize(
    ("free_bytes", "expected"),
    [
        (0, Pressure.CRITICAL),
        (GB // 2 - 1, Pressure.CRITICAL),
        (GB // 2, Pressure.LOW),
        (3 * GB // 2 - 1, Pressure.LOW),
        (3 * GB // 2, Pressure.STEADY),
        (5 * GB // 2 - 1, Pressure.STEADY),
        (5 * GB // 2, Pressure.ROOM),
        (80 * GB, Pressure.ROOM),
    ],
)
def test_pressure_of_free_bytes(free_bytes: int, expected: Pressure) -> None:
    """A mark itself belongs to the better side."""
    sample = MemorySample(device=HOST, seconds=0, unix_seconds=0, total_bytes=80 * GB, free_bytes=free_bytes)
    actual = pressure_of(sample, resolve(GPU_POLICY, 80 * GB))

    assert expected == actual


@pytest.mark.parametrize(
    ("policy", "totals", "expected"),
    [
        pytest.param(GPU_POLICY, (), [], id="the defaults of a GPU"),
        pytest.param(HOST_POLICY, (), [], id="the defaults of a host"),
        pytest.param(replace(HOST_POLICY, low=Mark(percent=4)), (), ["low"], id="low below critical in percent"),
        pytest.param(replace(GPU_POLICY, high=Mark(size_bytes=GB)), (), ["high"], id="high below low in bytes"),
        pytest.param(
            replace(HOST_POLICY, low=Mark(size_bytes=GB)), (), [], id="a mix cannot be judged without a total"
        ),
        pytest.param(replace(HOST_POLICY, low=Mark(size_bytes=GB)), (100 * GB,), ["low"], id="a mix judged at a total"),
        pytest.param(replace(HOST_POLICY, low=Mark(size_bytes=GB)), (15 * GB, 100 * GB), ["low"], id="at every total"),
        pytest.param(replace(HOST_POLICY, low=Mark(size_bytes=GB)), (15 * GB,), [], id="a mix that fits"),
        pytest.param(replace(GPU_POLICY, critical=Mark(percent=101)), (), ["critical"], id="over 100 percent"),
        pytest.param(replace(GPU_POLICY, critical=Mark(percent=NAN)), (), ["critical"], id="percent not a number"),
        pytest.param(replace(GPU_POLICY, critical=Mark(size_bytes=-1)), (), ["critical"], id="negative bytes"),
        pytest.param(replace(GPU_POLICY, grace_seconds=601), (), ["grace"], id="grace too long"),
        pytest.param(replace(GPU_POLICY, cool_down_seconds=-1), (), ["cool_down"], id="negative time"),
        pytest.param(replace(GPU_POLICY, grace_seconds=NAN), (), ["grace"], id="a time that is no number"),
        pytest.param(replace(GPU_POLICY, minimum_period_seconds=0.001), (), ["minimum_period"], id="too often"),
        pytest.param(replace(GPU_POLICY, minimum_period_seconds=2), (), ["maximum_period"], id="periods crossed"),
        pytest.param(replace(GPU_POLICY, valid_for_seconds=1), (), ["valid_for"], id="lives too short"),
        pytest.param(replace(GPU_POLICY, renewal_seconds=5), (), ["renewal"], id="renewed too late"),
        pytest.param(
            replace(GPU_POLICY, worst_fill_bytes_per_second=0), (), ["worst_fill_bytes_per_second"], id="no fill rate"
        ),
        pytest.param(
            replace(GPU_POLICY, grace_seconds=-1, valid_for_seconds=0), (), ["grace", "valid_for"], id="all are told"
        ),
    ],
)
def test_violations_of_policy(policy: Policy, totals: tuple[int, ...], expected: list[str]) -> None:
    """Numbers are checked as one whole, and every field at fault is named."""
    actual = [violation.field for violation in violations(policy, totals)]

    assert expected == actual


def test_resolve_of_crossed_mix_keeps_the_order() -> None:
    """Marks that cross at some size are still in order there, the lower one winning."""
    marks = resolve(replace(HOST_POLICY, critical=Mark(size_bytes=20 * GB)), 100 * GB)

    assert (20 * GB, 20 * GB, 20 * GB) == (marks.critical_bytes, marks.low_bytes, marks.high_bytes)


def test_changes_between_policies_are_told_from_and_to() -> None:
    """A change is shown number by number, as words."""
    actual = changes(GPU_POLICY, replace(GPU_POLICY, low=Mark(percent=10.0), grace_seconds=2.0))

    assert {"low": ("1.5GB", "10%"), "grace_seconds": ("1.0", "2.0")} == actual
