"""What others take of a device, and whether they are taking more.

Pure. Whoever took more a moment ago is likely to go on, and memory is given back with room to spare. Who stands still
is short only of what is missing: more of what requests are using would be called back at once.
"""

from dataclasses import dataclass, replace

RISING_SECONDS = 1.0
"""Who has risen so lately is still rising: allocations of one process come closer together."""
PEAK_SECONDS = 60.0
"""So long a peak is remembered: going back to it is no rise, it was given for already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """The most that others took lately: how much, when last, and when they last took more than that."""

    peak_bytes: int
    peak_at_seconds: float
    rose_at_seconds: float


def noted(others: Others | None, used_bytes: int, now_seconds: float, *, breath_bytes: int) -> Others:
    """Return what is known after one more reading; where nothing was known, it is as good as a rise.

    What changes by less than `breath_bytes` stands still: processes breathe, and sizes that are reported are measured.
    """
    if others is None or used_bytes > others.peak_bytes + breath_bytes:
        return Others(peak_bytes=used_bytes, peak_at_seconds=now_seconds, rose_at_seconds=now_seconds)
    if used_bytes >= others.peak_bytes - breath_bytes:
        return replace(others, peak_at_seconds=now_seconds)
    if now_seconds - others.peak_at_seconds >= PEAK_SECONDS:
        return replace(others, peak_bytes=used_bytes, peak_at_seconds=now_seconds)
    return others


def rising(others: Others | None, now_seconds: float) -> bool:
    """Tell whether others are taking more, as far as is known."""
    return others is None or now_seconds - others.rose_at_seconds < RISING_SECONDS
