"""Where settings come from, as one mapping: flags over variables over a TOML file, key by key also within tables."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel

NESTED = "__"


def merged(
    path: Path, environment: Mapping[str, str], flags: Mapping[str, Any], model: type[BaseModel], prefix: str
) -> dict[str, Any]:
    """Return what the sources say together; a file that is missing says nothing.

    Raises OSError or ValueError where a source cannot be read.
    """
    told = {name.upper(): value for name, value in environment.items() if value}
    file = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return _over(file, _over(_from_variables(told, model, prefix), flags))


def variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the names of all variables that say something."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}".upper()
        table = _table(field.annotation)
        if table is not None:
            yield from variables(table, f"{prefix}{name}{NESTED}")


def _from_variables(told: Mapping[str, str], model: type[BaseModel], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        variable = f"{prefix}{name}".upper()
        table = _table(field.annotation)
        if variable in told:
            is_composed = table is not None or get_origin(field.annotation) in {tuple, dict}
            found[name] = _read(variable, told[variable]) if is_composed else told[variable]
        nested = {} if table is None else _from_variables(told, table, f"{variable}{NESTED}")
        if nested:
            found[name] = _over(found.get(name, {}), nested)
    return found


def _read(variable: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{variable}: must be JSON, such as a list: {error}") from None


def _over(lower: Any, upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return one mapping laid over another."""
    if not isinstance(lower, dict):
        return dict(upper)
    return lower | {
        name: _over(lower.get(name), value) if isinstance(value, Mapping) else value for name, value in upper.items()
    }


def _table(annotation: Any) -> type[BaseModel] | None:
    """Return the model of a table of settings; None for a single one."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
