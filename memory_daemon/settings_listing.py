"""Every setting as a list: with its default, its variable and its meaning, as a commented TOML file."""

import json
from collections.abc import Iterator, Mapping

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from memory_daemon.config import ENV_PREFIX, DaemonConfig
from memory_daemon.setting_sources import NESTED


def settings_help() -> str:
    """Return what may stand in the configuration's file; settings are comments until somebody takes the # away."""
    lines = ["# Every setting of memory-daemon with its default."]
    last_table = None
    for table, name, field in _fields():
        if table != last_table:
            lines += ["", f"[{table}]"] if table else [""]
            last_table = table
        default = _toml(field.get_default(call_default_factory=True))
        variable = (ENV_PREFIX + (f"{table}{NESTED}" if table else "") + name).upper()
        lines += [
            f"# {field.description}  [{variable}]",
            f"# {name} = {default}" if default else f"# {name} =  # not set",
        ]
    return "\n".join(lines)


def _fields() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield every setting with its table, empty for those that stand in none; those come first."""
    tables: list[tuple[str, type[BaseModel]]] = []
    for name, field in DaemonConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            tables.append((name, field.annotation))
        else:
            yield "", name, field
    for table, model in tables:
        for name, field in model.model_fields.items():
            yield table, name, field


def _toml(value: object) -> str:
    """Return a default as TOML has it; empty for None, which TOML has not."""
    match value:
        case None | "":
            return ""
        case bool() | int() | float() | str():
            return json.dumps(value)
        case tuple() | list():
            return f"[{', '.join(_toml(each) for each in value)}]"
        case Mapping():
            entries = ", ".join(f"{json.dumps(str(key))} = {_toml(each)}" for key, each in value.items())
            return f"{{ {entries} }}" if entries else "{}"
        case _:
            return json.dumps(str(value))
