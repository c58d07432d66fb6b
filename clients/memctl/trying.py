"""Policies to try, as an operator names them: one that ships, or a file with a table `[policy]`."""

import re
import tomllib
from pathlib import Path
from typing import Any

from memctl.errors import MemctlError
from memctl.operator_types import Trying
from memctl.parse import parse_mark, parse_value, suggestion
from memctl.settings import BY_KEY, Kind, Setting
from memctl.types import ByteMark, SettingValue

PROFILES = ("balanced", "low-memory", "latency-first", "neighbour-first")
TABLE, PROFILE = "policy", "profile"
LARGEST_BYTES = 1 << 20
_UNNAMED = re.compile(r"[^A-Za-z0-9_-]+")


def trying(word: str) -> Trying:
    """Return the policy that a word names; MemctlError where it is neither a profile nor a file of numbers."""
    if word in PROFILES:
        return Trying(name=word, profile=word, values={})
    path = Path(word)
    try:
        told = tomllib.loads(path.read_bytes()[:LARGEST_BYTES].decode())
    except FileNotFoundError as error:
        raise _failed(f"There is no file {word}, and no policy of that name ships.", _shipped(word)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise _failed(f"{word} is neither a file that can be read nor one of {', '.join(PROFILES)}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise _failed(f"{word} is no TOML: {error}") from error
    numbers, profile = told.get(TABLE), told.get(PROFILE, "")
    if numbers is None and not profile:
        raise _failed(f"{word} has no table [{TABLE}]: nothing in it is a policy's.")
    if not isinstance(numbers or {}, dict):
        raise _failed(f"{word}: [{TABLE}] is no table")
    if profile and profile not in PROFILES:
        raise _failed(f"{word}: no policy {profile!r} ships.", _shipped(str(profile)))
    values = dict(_value(word, key, number) for key, number in (numbers or {}).items())
    return Trying(name=_name(path), profile=profile, values=values)


def _name(path: Path) -> str:
    """Return what a file's policy is called in the answer: its own name, with what the wire does not take left out."""
    return _UNNAMED.sub("-", path.stem)[:64].strip("-") or TABLE


def _value(word: str, key: str, told: Any) -> tuple[str, SettingValue]:
    setting = BY_KEY.get(key)
    if setting is None:
        raise _failed(f"{word}: there is no number {key!r}. {suggestion(key, BY_KEY, 'Numbers')}")
    try:
        return setting.name, _read(setting, told)
    except ValueError as error:
        raise _failed(f"{word}: {key}: {error}") from error


def _read(setting: Setting, told: Any) -> SettingValue:
    """Return a number as the file has it: marks are text or bytes, lengths of time seconds, the rest plain."""
    match setting.kind, told:
        case Kind.SWITCH, bool():
            return told
        case Kind.MARK, str():
            return parse_mark(told)
        case _, str():
            return parse_value(setting, told)
        case Kind.SWITCH, _:
            raise ValueError(f"{told!r} is neither true nor false")
        case _, bool():
            raise ValueError(f"{told!r} is no number")
        case Kind.MARK, int():
            return ByteMark(told)
        case ((Kind.RATE | Kind.SIZE), int()):
            return told
        case ((Kind.DURATION | Kind.PERCENT), int() | float()):
            return float(told)
        case _:
            raise ValueError(f"{told!r} is no number of this kind")


def _shipped(word: str) -> str:
    return f"Nothing was simulated. {suggestion(word, PROFILES, 'Policies that ship')}"


def _failed(happened: str, way_out: str = "Nothing was simulated: mend the file, or name another.") -> MemctlError:
    return MemctlError(happened, reason="BAD_POLICY_FILE", way_out=way_out)
