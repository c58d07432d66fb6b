"""What an operator types, turned into values. Pure; every refusal is a ValueError that says what would do.

A size or a length of time needs its unit (only 0 needs none): `low=2` would ask for two bytes. Bounds are the
daemon's to check, which knows the totals; here only what cannot travel at all is refused.
"""

import difflib
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import assert_never

from memctl.settings import BY_NAME, Kind, Setting
from memctl.types import ByteMark, Mark, PercentMark, SettingValue

BYTES_BY_UNIT: dict[str, int] = {
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "KB": 10**3,
    "B": 1,
}
MICROSECONDS_BY_UNIT: dict[str, int] = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
LARGEST_BYTES = 2**63 - 1
"""What an int64 on the wire holds."""
LONGEST_SECONDS = 3_653 * 86_400
"""Ten years: far over every bound of the policy, and well inside what a Duration holds."""

_NUMBER = r"\d+(?:\.\d+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([A-Za-z]+)", re.ASCII)
_SPAN = re.compile(rf"({_NUMBER})\s*(ms|d|h|m|s)\s*", re.ASCII)
_PERCENT = re.compile(rf"({_NUMBER})\s*%", re.ASCII)
_SWITCHES = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
_UNITS_FOLDED = {unit.casefold(): count for unit, count in BYTES_BY_UNIT.items()}


def parse_bytes(text: str) -> int:
    """Return bytes for a text such as `2GiB`, `1.5 gb` or `0`; fractions of a byte are rounded."""
    text = text.strip()
    if text == "0":
        return 0
    match = _SIZE.fullmatch(text)
    unit_bytes = _UNITS_FOLDED.get(match[2].casefold()) if match else None
    if match is None or unit_bytes is None:
        raise ValueError(
            f"{text!r} is no size; write a number with B, KB, KiB, MB, MiB, GB, GiB, TB or TiB, as in 2GiB"
        )
    count = round(Decimal(match[1]) * unit_bytes)
    if count > LARGEST_BYTES:
        raise ValueError(f"{text!r} is more than any machine has")
    return count


def parse_percent(text: str) -> float:
    """Return percent for a text such as `15%` or `12.5 %`."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no share; write percent, as in 15%")
    return float(match[1])


def parse_mark(text: str) -> Mark:
    """Return the level of free memory for a text in bytes or percent."""
    if text.strip().endswith("%"):
        return PercentMark(parse_percent(text))
    try:
        return ByteMark(parse_bytes(text))
    except ValueError as error:
        raise ValueError(f"{error}, or percent, as in 15%") from None


def parse_duration(text: str) -> float:
    """Return seconds for a text such as `500ms`, `2s`, `1h30m` or `0`, to the microsecond."""
    text = text.strip()
    if text == "0":
        return 0.0
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text):
        raise ValueError(f"{text!r} is no length of time; write a number with ms, s, m, h or d, as in 500ms or 1h30m")
    microseconds = round(sum(Decimal(number) * MICROSECONDS_BY_UNIT[unit] for number, unit in parts))
    if microseconds > LONGEST_SECONDS * 1_000_000:
        raise ValueError(f"{text!r} is more than ten years")
    return microseconds / 1_000_000


def parse_rate(text: str) -> int:
    """Return bytes a second for a text such as `6GB/s` or `6GB`."""
    return parse_bytes(text.strip().removesuffix("/s"))


def parse_switch(text: str) -> bool:
    """Return whether a text such as `true`, `on` or `yes` means so."""
    value = _SWITCHES.get(text.strip().casefold())
    if value is None:
        raise ValueError(f"{text!r} is neither true nor false")
    return value


def parse_value(setting: Setting, text: str) -> SettingValue:
    """Return the value of one setting as its kind is written."""
    match setting.kind:
        case Kind.MARK:
            return parse_mark(text)
        case Kind.DURATION:
            return parse_duration(text)
        case Kind.RATE:
            return parse_rate(text)
        case Kind.SIZE:
            return parse_bytes(text)
        case Kind.PERCENT:
            return parse_percent(text)
        case Kind.SWITCH:
            return parse_switch(text)
    assert_never(setting.kind)


def parse_assignment(text: str) -> tuple[Setting, SettingValue]:
    """Return the setting and its new value for a text such as `low=2GiB`; hyphens in names are welcome."""
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals:
        raise ValueError(f"{text!r} is no assignment; write NAME=VALUE, as in low=2GiB")
    setting = BY_NAME.get(name)
    if setting is None:
        raise ValueError(f"there is no setting {name!r}. {suggestion(name, BY_NAME, 'Settings')}")
    try:
        return setting, parse_value(setting, value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def parse_assignments(texts: Iterable[str]) -> dict[str, SettingValue]:
    """Return all new values by name; a name given twice is refused rather than guessed at."""
    values: dict[str, SettingValue] = {}
    for text in texts:
        setting, value = parse_assignment(text)
        if setting.name in values:
            raise ValueError(f"{setting.name} is given twice")
        values[setting.name] = value
    return values


def suggestion(name: str, known: Iterable[str], what: str) -> str:
    """Return what to say to somebody who named what is not there: what was probably meant, and all there are."""
    names = list(known)
    meant = nearest(name, names)
    return f"{meant} {what}: {', '.join(names) or 'none'}.".lstrip()


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the question whether a known name was meant, one that is close to what was typed or begins like it."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    begun = [one for one in names if name and one.startswith(name)]
    found = begun if len(begun) == 1 else close
    return f"Did you mean '{found[0]}'?" if found else ""
