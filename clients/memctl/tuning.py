"""Tuning in place: what a key does in `memctl top`. Pure.

Keys only prepare: nothing is asked of the daemon before Enter, and Esc drops what was prepared. A change of a number
is based on the policy that is seen; if somebody was faster, the daemon refuses it.
"""

from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from typing import assert_never

from memctl.format import exact_value
from memctl.settings import BY_NAME, SETTINGS, Kind, Setting
from memctl.types import ByteMark, OverrideKind, PercentMark, SettingValue, Status

EVICT_SECONDS = 600.0
FREEZE_SECONDS = 600.0
SIZE_FACTOR, TIME_FACTOR = Decimal("1.1"), Decimal("1.25")
LEAST_BYTES, LEAST_SECONDS = Decimal(1_000_000), Decimal("0.01")
"""Steps are no finer: nobody tunes by less."""
FIRST_BYTES = 100_000_000
FIRST_SECONDS = 0.1
WHOLE_PERCENT = 100.0


class Key(Enum):
    """A key that means something here; the values are what a terminal sends, or a letter."""

    UP = "up"
    DOWN = "down"
    MORE = "more"
    LESS = "less"
    NEXT = "next"
    BEFORE = "before"
    ENTER = "enter"
    ESCAPE = "escape"
    PIN = "p"
    HOLD = "h"
    EVICT = "e"
    RELEASE = "r"
    DRY_RUN = "d"
    FREEZE = "f"
    UNDO = "u"
    HELP = "?"
    LEAVE = "q"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNumber:
    """A number of the policy gets a new value, unless the policy is no longer at this etag."""

    name: str
    value: SettingValue
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetOverride:
    """A module gets an override, or (None) loses it."""

    service: str
    module: str
    kind: OverrideKind | None
    time_to_live_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFreeze:
    """Nothing moves for so long, or (None) everything may again."""

    time_to_live_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoChange:
    """The newest change of the policy is taken back, unless the policy is no longer at this etag."""

    etag: str


Wanted = SetNumber | SetOverride | SetFreeze | UndoChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What is chosen and prepared; `ask` is what Enter asks for, `words` say so or what came of the last one."""

    number: str = ""
    selected: tuple[str, str] | None = None
    ask: Wanted | None = None
    words: str = ""
    helps: bool = False
    leaves: bool = False


def press(tuning: Tuning, key: Key, status: Status) -> tuple[Tuning, Wanted | None]:
    """Return the state after a key, and what is to be asked of the daemon now (None for nothing)."""
    tuning = replace(tuning, helps=False) if key is not Key.HELP else tuning
    match key:
        case Key.ENTER:
            words = tuning.words if tuning.ask is None else f"{tuning.words} ..."
            return replace(tuning, ask=None, words=words), tuning.ask
        case Key.ESCAPE:
            return replace(tuning, ask=None, words=""), None
        case Key.LEAVE:
            return replace(tuning, leaves=True), None
        case Key.HELP:
            return replace(tuning, helps=not tuning.helps), None
        case _:
            return _prepare(tuning, key, status), None


def done(tuning: Tuning, words: str) -> Tuning:
    """Return the state after the daemon has answered; what was prepared meanwhile stays."""
    return tuning if tuning.ask is not None else replace(tuning, words=words)


def _prepare(tuning: Tuning, key: Key, status: Status) -> Tuning:
    match key:
        case Key.UP | Key.DOWN:
            return _choose(tuning, status, -1 if key is Key.UP else 1)
        case Key.MORE | Key.LESS:
            return _change(tuning, status, more=key is Key.MORE)
        case Key.NEXT | Key.BEFORE:
            return _select(tuning, status, 1 if key is Key.NEXT else -1)
        case Key.PIN | Key.HOLD | Key.EVICT | Key.RELEASE:
            return _place(tuning, key)
        case Key.DRY_RUN:
            return _propose(replace(tuning, number="dry_run"), status, not status.dry_run)
        case Key.FREEZE:
            return _freeze(tuning, status)
        case Key.UNDO:
            words = "undo the newest change of the policy"
            return replace(tuning, ask=UndoChange(etag=status.policy.etag), words=words)
        case Key.ENTER | Key.ESCAPE | Key.HELP | Key.LEAVE:
            raise AssertionError("handled before")
        case _:
            assert_never(key)


def _choose(tuning: Tuning, status: Status, step: int) -> Tuning:
    names = [setting.name for setting in SETTINGS if status.policy.values.get(setting.name) is not None]
    if not names:
        return tuning
    first = 0 if step > 0 else -1
    at = (names.index(tuning.number) + step) % len(names) if tuning.number in names else first
    setting = BY_NAME[names[at]]
    value = exact_value(setting, status.policy.values.get(setting.name))
    return replace(tuning, number=setting.name, ask=None, words=f"{setting.name} {value}: {setting.meaning}")


def _change(tuning: Tuning, status: Status, *, more: bool) -> Tuning:
    setting = BY_NAME.get(tuning.number)
    if setting is None:
        return replace(tuning, words="choose a number first, with the arrows up and down")
    value = status.policy.values.get(setting.name)
    if isinstance(tuning.ask, SetNumber) and tuning.ask.name == setting.name:
        value = tuning.ask.value
    return _propose(tuning, status, stepped(setting, value, more=more))


def _propose(tuning: Tuning, status: Status, value: SettingValue) -> Tuning:
    setting = BY_NAME[tuning.number]
    before = exact_value(setting, status.policy.values.get(setting.name))
    words = f"{setting.name} {before} -> {exact_value(setting, value)}"
    return replace(tuning, ask=SetNumber(name=setting.name, value=value, etag=status.policy.etag), words=words)


def _select(tuning: Tuning, status: Status, step: int) -> Tuning:
    named = [(one.service, module.module) for one in status.services if one.report for module in one.report.modules]
    if not named:
        return replace(tuning, selected=None, words="there is no module")
    first = 0 if step > 0 else -1
    at = (named.index(tuning.selected) + step) % len(named) if tuning.selected in named else first
    service, module = named[at]
    words = f"{module} of {service}: p pins, h holds, e evicts, r releases"
    return replace(tuning, selected=named[at], ask=None, words=words)


def _place(tuning: Tuning, key: Key) -> Tuning:
    if tuning.selected is None:
        return replace(tuning, words="choose a module first, with Tab")
    service, module = tuning.selected
    kind, seconds, words = _PLACES[key]
    ask = SetOverride(service=service, module=module, kind=kind, time_to_live_seconds=seconds)
    return replace(tuning, ask=ask, words=f"{words} {module} of {service}")


def _freeze(tuning: Tuning, status: Status) -> Tuning:
    if status.freeze is not None:
        return replace(tuning, ask=SetFreeze(time_to_live_seconds=None), words="thaw: let the policy decide again")
    return replace(tuning, ask=SetFreeze(time_to_live_seconds=FREEZE_SECONDS), words="freeze for 10 min: nothing moves")


_PLACES: dict[Key, tuple[OverrideKind | None, float | None, str]] = {
    Key.PIN: (OverrideKind.PIN, None, "pin"),
    Key.HOLD: (OverrideKind.HOLD, None, "hold"),
    Key.EVICT: (OverrideKind.EVICT, EVICT_SECONDS, "for 10 min, evict"),
    Key.RELEASE: (None, None, "release"),
}


def stepped(setting: Setting, value: SettingValue, *, more: bool) -> SettingValue:
    """Return a value one step up or down: a tenth of a size, a quarter of a time, a percent, the other switch."""
    match value:
        case bool():
            return not value
        case ByteMark(count):
            return ByteMark(_stepped_bytes(count, more=more))
        case PercentMark(percent):
            return PercentMark(_stepped_percent(percent, more=more))
        case int() if setting.kind in {Kind.SIZE, Kind.RATE}:
            return _stepped_bytes(value, more=more)
        case int() | float() if setting.kind is Kind.PERCENT:
            return _stepped_percent(float(value), more=more)
        case int() | float():
            seconds = _scaled(Decimal(repr(float(value))), TIME_FACTOR, LEAST_SECONDS, more=more)
            return float(seconds) if value or not more else FIRST_SECONDS
        case None:
            return None


def _stepped_bytes(count: int, *, more: bool) -> int:
    if count <= 0:
        return FIRST_BYTES if more else 0
    return int(_scaled(Decimal(count), SIZE_FACTOR, LEAST_BYTES, more=more))


def _stepped_percent(percent: float, *, more: bool) -> float:
    return min(WHOLE_PERCENT, max(0.0, percent + (1 if more else -1)))


def _scaled(number: Decimal, factor: Decimal, least: Decimal, *, more: bool) -> Decimal:
    """Return a number times or through a factor, to two digits or the least step, and always further on."""
    if not number:
        return number
    scaled = number * factor if more else number / factor
    digit = max(least, Decimal(1).scaleb(scaled.adjusted() - 1))
    rounded = (scaled / digit).quantize(Decimal(1)) * digit
    if more:
        return rounded if rounded > number else (number // digit + 1) * digit
    return rounded if rounded < number else max(Decimal(0), (-(-number // digit) - 1) * digit)
