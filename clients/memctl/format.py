"""Values turned into words: exact ones that `parse` reads back, and short ones for eyes. Pure."""

from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import assert_never

from memctl.parse import BYTES_BY_UNIT
from memctl.settings import Kind, Setting
from memctl.types import ByteMark, Mark, PercentMark, SettingValue

NOTHING = "-"
_THREE_DIGITS = 1_000
_SECOND = 1_000_000
"""In microseconds."""
_MINUTE = 60 * _SECOND
_SHORT_UNITS = ("KiB", "MiB", "GiB", "TiB")
_KIBI = 1_024
_ROUNDS_TO_KIBI = 1_023.5
_ROUNDS_TO_HUNDRED = 99.95
_ROUNDS_TO_TEN = 9.95
"""From here on one decimal more would be a digit too many."""


def exact_bytes(count: int) -> str:
    """Return the shortest text that means exactly so many bytes, such as `1.5GB` or `512MiB`."""
    texts = [
        f"{_plain(Decimal(count) / unit_bytes)}{unit}"
        for unit, unit_bytes in BYTES_BY_UNIT.items()
        if count * _THREE_DIGITS % unit_bytes == 0
    ]
    return min(texts, key=len)


def exact_percent(percent: float) -> str:
    """Return percent with every digit that counts, such as `12.5%`."""
    return f"{_plain(Decimal(repr(percent)))}%"


def exact_mark(mark: Mark) -> str:
    """Return a mark as it would be typed."""
    match mark:
        case ByteMark(count):
            return exact_bytes(count)
        case PercentMark(percent):
            return exact_percent(percent)
    assert_never(mark)


def exact_duration(seconds: float) -> str:
    """Return a length of time to the microsecond, such as `500ms`, `1.5s` or `1h30m`."""
    microseconds = round(seconds * _SECOND)
    if microseconds == 0:
        return "0s"
    if microseconds < _SECOND:
        return f"{_plain(Decimal(microseconds) / 1_000)}ms"
    minutes, rest = divmod(microseconds, _MINUTE)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours}h" * bool(hours), f"{minutes}m" * bool(minutes), f"{_plain(Decimal(rest) / _SECOND)}s")
    return "".join(parts[:2]) + (parts[2] if rest else "")


def exact_value(setting: Setting, value: SettingValue) -> str:
    """Return a setting's value as it would be typed; a dash for none."""
    if value is None:
        return NOTHING
    match setting.kind:
        case Kind.MARK:
            assert isinstance(value, ByteMark | PercentMark)
            return exact_mark(value)
        case Kind.DURATION:
            assert isinstance(value, int | float)
            return exact_duration(value)
        case Kind.RATE:
            assert isinstance(value, int)
            return f"{exact_bytes(value)}/s"
        case Kind.SIZE:
            assert isinstance(value, int)
            return exact_bytes(value)
        case Kind.PERCENT:
            assert isinstance(value, int | float)
            return exact_percent(float(value))
        case Kind.SWITCH:
            return "true" if value else "false"
    assert_never(setting.kind)


def short_bytes(count: int | None) -> str:
    """Return a size to three digits or so, such as `1.5 GiB`; a dash for none."""
    if count is None:
        return NOTHING
    if abs(count) < _KIBI:
        return f"{count} B"
    size, unit = float(count), "B"
    for larger in _SHORT_UNITS:
        if abs(size) < _ROUNDS_TO_KIBI:
            break
        size, unit = size / _KIBI, larger
    return f"{size:.1f} {unit}" if abs(size) < _ROUNDS_TO_HUNDRED else f"{size:.0f} {unit}"


def short_duration(seconds: float | None) -> str:
    """Return a length of time to two digits or so, such as `35 ms` or `12 min`; a dash for none."""
    if seconds is None:
        return NOTHING
    for below, unit, unit_seconds in ((1, "ms", 0.001), (60, "s", 1), (3_600, "min", 60), (86_400, "h", 3_600)):
        if seconds < below:
            return _two_digits(seconds / unit_seconds, unit)
    return _two_digits(seconds / 86_400, "d")


def short_ago(then_unix_seconds: float | None, now_unix_seconds: float) -> str:
    """Return how long ago something was; `never` for what never was."""
    if then_unix_seconds is None:
        return "never"
    age_seconds = now_unix_seconds - then_unix_seconds
    return "now" if age_seconds < 1 else short_duration(age_seconds)


def clock(unix_seconds: float | None, zone: tzinfo | None) -> str:
    """Return the time of day in a zone (the machine's own for None); a dash for none."""
    if unix_seconds is None:
        return NOTHING
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone(zone).strftime("%H:%M:%S")


def date_and_clock(unix_seconds: float | None, zone: tzinfo | None) -> str:
    """Return the day and the time of day in a zone (the machine's own for None); a dash for none."""
    if unix_seconds is None:
        return NOTHING
    return datetime.fromtimestamp(unix_seconds, UTC).astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _plain(number: Decimal) -> str:
    """Return a decimal without an exponent and without idle zeros."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _two_digits(size: float, unit: str) -> str:
    return f"{f'{size:.1f}'.removesuffix('.0') if size < _ROUNDS_TO_TEN else f'{size:.0f}'} {unit}"
