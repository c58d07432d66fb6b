"""Every setting as a list: with its default and bounds for those who write a file, in force for those who ask.

A setting in force says where it came from, so that nobody has to guess which of file, variable and flag has won.
"""

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from tts_service.config import ENV_PREFIX, ServiceConfig, config_file
from tts_service.errors import StartupError

_BOUNDS = (
    (Ge, "at least {0.ge:,}"),
    (Gt, "more than {0.gt:,}"),
    (Le, "at most {0.le:,}"),
    (Lt, "less than {0.lt:,}"),
)


class SettingSource(IntEnum):
    """Where a value came from; a higher one overrules a lower one. Numbers equal the wire's."""

    DEFAULT = 1
    FILE = 2
    VARIABLE = 3
    FLAG = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveSetting:
    """One setting in force. `value` is as in a file, empty if nothing is set; `origin` names file or variable."""

    name: str
    value: str
    source: SettingSource
    origin: str
    description: str


def settings_help() -> str:
    """Return every setting with its default, its bounds and its meaning, as a commented TOML file."""
    lines = ["# Every setting of tts-service with its default."]
    last_table = None
    for table, name, field in _fields():
        if table != last_table:
            lines += ["", f"[{table}]"] if table else [""]
            last_table = table
        default = _toml(field.get_default(call_default_factory=True))
        bounds = f" {_bounds(field)}." if _bounds(field) else ""
        lines += [
            f"# {field.description}{bounds}  [{_variable(table, name)}]",
            f"# {name} = {default}" if default else f"# {name} =  # not set",
        ]
    return "\n".join(lines)


def effective_settings(
    config: ServiceConfig, path: Path | None, flags: Mapping[str, Any], *, stands_for: Mapping[str, object]
) -> tuple[EffectiveSetting, ...]:
    """Return what is in force, and from where; `path` and `flags` are those that `load_config` was given.

    `stands_for` is what counts in place of settings that are not set, by name.
    """
    toml = config_file(path)
    given = {
        SettingSource.FLAG: dict(flags),
        SettingSource.VARIABLE: EnvSettingsSource(ServiceConfig)(),
        SettingSource.FILE: TomlConfigSettingsSource(ServiceConfig, toml_file=toml)(),
    }
    origins = {SettingSource.FILE: str(toml), SettingSource.FLAG: "command line"}
    found = []
    for table, name, field in _fields():
        full_name = _full_name(table, name)
        source = next((each for each, values in given.items() if _has(values, table, name)), SettingSource.DEFAULT)
        value = getattr(getattr(config, table) if table else config, name)
        origin = _variable(table, name) if source is SettingSource.VARIABLE else origins.get(source, "")
        found.append(
            EffectiveSetting(
                name=full_name,
                value=_toml(stands_for.get(full_name) if value is None else value),
                source=source,
                origin=origin,
                description=field.description or "",
            )
        )
    return tuple(found)


def assigned_settings(assignments: Collection[str]) -> dict[str, Any]:
    """Return `NAME=VALUE` texts as nested settings. A value is TOML's, or a text as it stands. Raises StartupError."""
    settings: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise StartupError(f"--set {assignment}: write it as NAME=VALUE")
        table, key, entry = _place(name.strip())
        holder = settings.setdefault(table, {}) if table else settings
        if entry:
            holder.setdefault(key, {})[entry] = _value(text.strip())
        else:
            holder[key] = _value(text.strip())
    return settings


def merged(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """Return both settings; where both have one, the higher counts, and tables are merged."""
    both = dict(lower)
    for name, value in higher.items():
        below = both.get(name)
        both[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return both


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield every setting with its table, empty for those that stand in none; those come first."""
    tables: list[tuple[str, type[BaseModel]]] = []
    for name, field in ServiceConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            tables.append((name, field.annotation))
        else:
            yield "", name, field
    for table, model in tables:
        for name, field in model.model_fields.items():
            yield table, name, field


def _place(name: str) -> tuple[str, str, str]:
    """Return table, setting and, of a setting that is a table itself, the entry that a name means."""
    for table, key, field in _fields():
        full_name = _full_name(table, key)
        if name == full_name:
            return table, key, ""
        if name.startswith(f"{full_name}.") and isinstance(field.get_default(call_default_factory=True), Mapping):
            return table, key, name.removeprefix(f"{full_name}.")
    raise StartupError(f"--set {name}: no such setting; see tts-service --show-settings")


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _has(values: Mapping[str, Any], table: str, name: str) -> bool:
    holder = values.get(table, {}) if table else values
    return isinstance(holder, Mapping) and name in holder


def _full_name(table: str, name: str) -> str:
    return f"{table}.{name}" if table else name


def _variable(table: str, name: str) -> str:
    return (ENV_PREFIX + (f"{table}__" if table else "") + name).upper()


def _bounds(field: FieldInfo) -> str:
    words = [text.format(each) for kind, text in _BOUNDS for each in field.metadata if isinstance(each, kind)]
    return ", ".join(words).capitalize()


def _toml(value: object) -> str:
    """Return a value as TOML has it; empty for None, which TOML has not."""
    match value:
        case None:
            return ""
        case bool() | int() | float() | str():
            return json.dumps(value, ensure_ascii=False)
        case tuple() | list():
            return f"[{', '.join(_toml(each) for each in value)}]"
        case Mapping() if not value:
            return "{}"
        case Mapping():
            entries = (f"{json.dumps(str(key))} = {_toml(each)}" for key, each in value.items())
            return f"{{ {', '.join(entries)} }}"
        case _:
            return json.dumps(str(value), ensure_ascii=False)
