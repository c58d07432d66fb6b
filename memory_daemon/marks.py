"""Every number of the policy, what the numbers may be, and where memory stands among the marks.

A mark is bytes or a share of the total, so that what contradicts what is only known for a device. `violations` checks
the numbers as one whole, with the totals that are known.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields

from memory_daemon.errors import FieldViolation
from memory_daemon.sizes import exact_number_text, exact_size_text, parse_size
from memory_daemon.types import MemorySample, Pressure

_SHARE_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A level of free memory: exactly one of bytes, and percent of the total."""

    size_bytes: int | None = None
    percent: float | None = None

    def __post_init__(self) -> None:
        assert (self.size_bytes is None) != (self.percent is None)

    def at(self, total_bytes: int) -> int:
        """Return it in bytes on a device of that size."""
        if self.size_bytes is not None:
            return self.size_bytes
        assert self.percent is not None
        return int(total_bytes * self.percent / 100)

    def __str__(self) -> str:
        """Return it so that it can be typed back and means the same."""
        if self.size_bytes is not None:
            return exact_size_text(self.size_bytes)
        assert self.percent is not None
        return f"{exact_number_text(self.percent)}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The marks of one device, in bytes: critical <= low <= high."""

    critical_bytes: int
    low_bytes: int
    high_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Every number of the policy; names, ranges and meaning are those of `policy.proto`."""

    critical: Mark
    low: Mark
    high: Mark
    grace_seconds: float = 1.0
    cool_down_seconds: float = 2.0
    minimum_residence_seconds: float = 5.0
    minimum_absence_seconds: float = 5.0
    minimum_period_seconds: float = 0.1
    maximum_period_seconds: float = 1.0
    worst_fill_bytes_per_second: int = 6_000_000_000
    valid_for_seconds: float = 10.0
    renewal_seconds: float = 3.0
    background_restore: bool = True
    dry_run: bool = False
    trim_cache: bool = True
    trim_minimum_bytes: int = 67_108_864
    relieve_host: bool = True
    host_low: Mark = Mark(percent=10.0)
    host_high: Mark = Mark(percent=15.0)
    host_some_percent: float = 20.0
    host_full_percent: float = 5.0
    foresight: bool = True
    expected_again_seconds: float = 600.0
    foresight_lead_seconds: float = 300.0


GPU_POLICY = Policy(
    critical=Mark(size_bytes=500_000_000), low=Mark(size_bytes=1_500_000_000), high=Mark(size_bytes=2_500_000_000)
)
"""The defaults where a GPU is watched; the fill rate is what one process allocates on it in a second."""
HOST_POLICY = Policy(critical=Mark(percent=5.0), low=Mark(percent=10.0), high=Mark(percent=15.0))
"""The defaults where host memory is watched; earlyoom measured 6 GB/s as the fastest that a machine filled up."""

_RANGES_SECONDS = {
    "grace": (0.0, 600.0),
    "cool_down": (0.0, 600.0),
    "minimum_residence": (0.0, 3600.0),
    "minimum_absence": (0.0, 3600.0),
    "minimum_period": (0.01, 60.0),
    "maximum_period": (0.01, 60.0),
    "valid_for": (2.0, 600.0),
    "renewal": (0.1, 300.0),
    "expected_again": (0.0, 86_400.0),
    "foresight_lead": (0.0, 3600.0),
}
"""As in `policy.proto`, which leaves open how long the longest period and how short a renewal may be."""


def parse_mark(text: str) -> Mark:
    """Return the mark that `1.5GB`, `2GiB`, `500000000` or `10%` means; raises ValueError with what is allowed."""
    share = _SHARE_TEXT.fullmatch(text)
    if share is not None:
        return Mark(percent=float(share[1]))
    size_bytes = parse_size(text)
    if size_bytes is None:
        raise ValueError(f"{text!r} is no mark: write bytes such as 1.5GB or 2GiB, or a share such as 10%")
    return Mark(size_bytes=size_bytes)


def resolve(policy: Policy, total_bytes: int) -> Marks:
    """Return the marks on a device of that size, in order even where a mix of bytes and percent is not."""
    critical = policy.critical.at(total_bytes)
    low = max(critical, policy.low.at(total_bytes))
    return Marks(critical_bytes=critical, low_bytes=low, high_bytes=max(low, policy.high.at(total_bytes)))


def pressure_of(sample: MemorySample, marks: Marks) -> Pressure:
    """Return where memory stands."""
    if sample.free_bytes < marks.critical_bytes:
        return Pressure.CRITICAL
    if sample.free_bytes < marks.low_bytes:
        return Pressure.LOW
    return Pressure.ROOM if sample.free_bytes >= marks.high_bytes else Pressure.STEADY


def violations(policy: Policy, totals_bytes: Iterable[int]) -> tuple[FieldViolation, ...]:
    """Return all that is wrong with the numbers as a whole; fields are named as in `policy.proto`."""
    alone = (*_bad_marks(policy), *_bad_ranges(policy), *_bad_fill(policy), *_bad_shares(policy))
    return alone or (*_disorder(policy, tuple(totals_bytes)), *_bad_pairs(policy))


def _bad_marks(policy: Policy) -> Iterable[FieldViolation]:
    for name in ("critical", "low", "high", "host_low", "host_high"):
        mark: Mark = getattr(policy, name)
        if mark.size_bytes is not None and mark.size_bytes < 0:
            yield FieldViolation(field=name, description="must be 0 bytes or more")
        if mark.percent is not None and not 0 <= mark.percent <= 100:  # noqa: PLR2004 - percent.
            yield FieldViolation(field=name, description=f"must be 0 to 100 percent, not {mark.percent:g}")


def _bad_ranges(policy: Policy) -> Iterable[FieldViolation]:
    for name, (least, most) in _RANGES_SECONDS.items():
        seconds: float = getattr(policy, f"{name}_seconds")
        if math.isnan(seconds) or not least <= seconds <= most:
            yield FieldViolation(field=name, description=f"must be {least:g} to {most:g} s, not {seconds:g} s")


def _bad_fill(policy: Policy) -> Iterable[FieldViolation]:
    if policy.worst_fill_bytes_per_second <= 0:
        yield FieldViolation(field="worst_fill_bytes_per_second", description="must be more than 0")


def _bad_shares(policy: Policy) -> Iterable[FieldViolation]:
    if policy.trim_minimum_bytes < 0:
        yield FieldViolation(field="trim_minimum_bytes", description="must be 0 or more")
    for name in ("host_some_percent", "host_full_percent"):
        share: float = getattr(policy, name)
        if not 0 < share <= 100:  # noqa: PLR2004 - percent.
            yield FieldViolation(field=name, description=f"must be more than 0, to 100 percent, not {share:g}")


def _disorder(policy: Policy, totals_bytes: tuple[int, ...]) -> Iterable[FieldViolation]:
    for lower, upper, totals in (
        ("critical", "low", totals_bytes),
        ("low", "high", totals_bytes),
        ("host_low", "host_high", ()),
    ):
        below: Mark = getattr(policy, lower)
        above: Mark = getattr(policy, upper)
        if any(below.at(total) > above.at(total) for total in _telling(below, above, totals)):
            yield FieldViolation(field=upper, description=f"must be at least {lower}: {above} is below {below}")


def _telling(below: Mark, above: Mark, totals_bytes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the totals at which two marks can be compared: any, if both are of one kind."""
    alike = (below.percent is None) == (above.percent is None)
    return (*totals_bytes, 1_000_000_000_000) if alike else totals_bytes


def _bad_pairs(policy: Policy) -> Iterable[FieldViolation]:
    if policy.maximum_period_seconds < policy.minimum_period_seconds:
        yield FieldViolation(field="maximum_period", description="must be at least minimum_period")
    if policy.renewal_seconds * 2 >= policy.valid_for_seconds:
        yield FieldViolation(field="renewal", description="must be less than half of valid_for")


def changes(before: Policy, after: Policy) -> dict[str, tuple[str, str]]:
    """Return what differs, as words: number by number, from and to."""
    pairs = {
        field.name: (str(getattr(before, field.name)), str(getattr(after, field.name))) for field in fields(Policy)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
