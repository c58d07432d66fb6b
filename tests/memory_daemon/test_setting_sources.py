"""Settings of three sources laid over each other, key by key."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from memory_daemon.setting_sources import merged, variables


class Table(BaseModel):
    """A table of settings."""

    low: int = 0
    high: int = 0


class Settings(BaseModel):
    """Settings of every kind that there is."""

    names: tuple[str, ...] = ()
    sizes: dict[str, int] = {}
    marks: Table = Table()


def test_variables_that_hold_more_than_a_word_are_json(tmp_path: Path) -> None:
    """Lists and tables can be set as wholes, single keys of a table win over it, and an empty one says nothing."""
    told = {"X_NAMES": '["a", "b"]', "x_sizes": "", "X_MARKS": '{"low": 1, "high": 2}', "X_MARKS__HIGH": "3"}

    assert {"names": ["a", "b"], "marks": {"low": 1, "high": "3"}} == merged(
        tmp_path / "none", told, {}, Settings, "X_"
    )


def test_tables_of_all_sources_are_laid_over_each_other(tmp_path: Path) -> None:
    """What a higher source does not say of a table stands as a lower one has it."""
    file = tmp_path / "settings.toml"
    file.write_text("[sizes]\na = 1\nb = 2\n[marks]\nlow = 5\n")
    found = merged(file, {"X_MARKS__HIGH": "6"}, {"sizes": {"b": 3}, "marks": {"low": 7}}, Settings, "X_")

    assert {"sizes": {"a": 1, "b": 3}, "marks": {"low": 7, "high": "6"}} == found


def test_variable_that_is_no_json_is_refused_by_its_name(tmp_path: Path) -> None:
    """Whoever set it hears which one it was."""
    with pytest.raises(ValueError, match="X_NAMES: must be JSON"):
        merged(tmp_path / "none", {"X_NAMES": "a,b"}, {}, Settings, "X_")


def test_every_setting_has_a_variable() -> None:
    """Tables have one as a whole, and one for each key."""
    assert ["X_NAMES", "X_SIZES", "X_MARKS", "X_MARKS__LOW", "X_MARKS__HIGH"] == list(variables(Settings, "X_"))
