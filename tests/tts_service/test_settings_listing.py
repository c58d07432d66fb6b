"""Settings as lists: defaults with bounds, what is in force with its source, and flags that name any setting."""

from pathlib import Path
from typing import Any

import pytest

from tts_service.config import ServiceConfig, load_config
from tts_service.errors import StartupError
from tts_service.settings_listing import (
    EffectiveSetting,
    SettingSource,
    assigned_settings,
    effective_settings,
    merged,
    settings_help,
)


def in_force(path: Path | None, flags: dict[str, Any], **stands_for: object) -> dict[str, EffectiveSetting]:
    """Return the settings in force by name."""
    settings = effective_settings(load_config(path, flags), path, flags, stands_for=stands_for)
    return {each.name: each for each in settings}


def test_settings_help_lists_every_setting_with_default_and_bounds() -> None:
    """Nested settings stand in their tables, with the variable that sets them."""
    lines = settings_help().splitlines()

    assert {"# workers = 2", "# sessions = 64", "[residency]", '# speech_address = "127.0.0.1:50051"'} <= set(lines)
    assert {"# rest = {}", "# pinned = []", "# prefetch = true", "# budget_bytes =  # not set"} <= set(lines)
    assert "# Speech sessions at once. At least 1, at most 10,000.  [GREENROOM_SERVICE_LIMITS__SESSIONS]" in lines


def test_setting_in_force_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag over variable over file over default, each with its origin."""
    file = tmp_path / "service.toml"
    file.write_text('name = "file"\nworkers = 3\nlog_level = "debug"\n[residency]\nhistory = false\nprefetch = false\n')
    monkeypatch.setenv("GREENROOM_SERVICE_WORKERS", "4")
    monkeypatch.setenv("GREENROOM_SERVICE_RESIDENCY__PREFETCH", "true")
    found = in_force(file, {"log_level": "error", "residency": {"budget_bytes": 7}})

    assert {
        "name": ('"file"', SettingSource.FILE, str(file)),
        "workers": ("4", SettingSource.VARIABLE, "GREENROOM_SERVICE_WORKERS"),
        "log_level": ('"error"', SettingSource.FLAG, "command line"),
        "residency.history": ("false", SettingSource.FILE, str(file)),
        "residency.prefetch": ("true", SettingSource.VARIABLE, "GREENROOM_SERVICE_RESIDENCY__PREFETCH"),
        "residency.budget_bytes": ("7", SettingSource.FLAG, "command line"),
        "residency.arenas": ("true", SettingSource.DEFAULT, ""),
    } == {
        name: (found[name].value, found[name].source, found[name].origin)
        for name in (
            "name",
            "workers",
            "log_level",
            "residency.history",
            "residency.prefetch",
            "residency.budget_bytes",
            "residency.arenas",
        )
    }


def test_settings_in_force_are_all_settings() -> None:
    """Nothing that can be set is left out, tables are taken apart, and each is described."""
    found = in_force(None, {})
    tables = {name.partition(".")[0] for name in found if "." in name}

    assert set(ServiceConfig.model_fields) == tables | {name for name in found if "." not in name}
    assert {"limits.sessions", "residency.static_low_bytes", "residency.rest"} <= set(found)
    assert all(each.description for each in found.values())


def test_setting_that_is_not_set_shows_what_stands_for_it() -> None:
    """An effective folder is told instead of nothing; what nothing stands for is empty."""
    found = in_force(None, {}, cache_dir=Path("/var/cache/greenroom"))

    assert ('"/var/cache/greenroom"', SettingSource.DEFAULT) == (found["cache_dir"].value, found["cache_dir"].source)
    assert "" == found["residency.budget_bytes"].value


def test_table_setting_is_told_as_a_file_has_it(tmp_path: Path) -> None:
    """Where modules rest can be set entry by entry; entries of file and flags are merged."""
    file = tmp_path / "service.toml"
    file.write_text('[residency.rest]\n"s3gen.flow" = "host"\nt3 = "disk"\n')
    found = in_force(file, assigned_settings(["residency.rest.t3=device"]))["residency.rest"]

    assert '{ "s3gen.flow" = "host", "t3" = "device" }' == found.value
    assert SettingSource.FLAG is found.source


@pytest.mark.parametrize(
    ("assignments", "settings"),
    [
        (["name=quiet", "workers=3"], {"name": "quiet", "workers": 3}),
        (["residency.enabled=false"], {"residency": {"enabled": False}}),
        (['residency.pinned=["t3", "voice"]'], {"residency": {"pinned": ["t3", "voice"]}}),
        (["residency.rest.s3gen.flow=host"], {"residency": {"rest": {"s3gen.flow": "host"}}}),
        (["weights=/a=b"], {"weights": "/a=b"}),
        (["log_level = debug"], {"log_level": "debug"}),
        ([], {}),
    ],
)
def test_assignment_sets_any_setting(assignments: list[str], settings: dict[str, Any]) -> None:
    """Values are TOML's, and a text needs no quotes."""
    assert settings == assigned_settings(assignments)


@pytest.mark.parametrize("assignment", ["workers", "wrokers=3", "residency.bugdet_bytes=3", "residency=3", "limits.=1"])
def test_assignment_of_nothing_that_there_is_stops_the_start(assignment: str) -> None:
    """A misspelt name is no setting that is silently ignored."""
    with pytest.raises(StartupError, match="--set"):
        assigned_settings([assignment])


def test_assigned_value_out_of_bounds_is_refused_by_name() -> None:
    """Flags keep the bounds of the file."""
    with pytest.raises(StartupError, match=r"residency\.budget_bytes"):
        load_config(None, assigned_settings(["residency.budget_bytes=-1"]))


def test_merged_settings_keep_what_only_one_has() -> None:
    """Tables are merged, and the higher counts where both have a value."""
    lower = {"name": "a", "residency": {"enabled": False, "arenas": False}}

    assert {"name": "b", "residency": {"enabled": True, "arenas": False}} == merged(
        lower, {"name": "b", "residency": {"enabled": True}}
    )
