"""Configuration: file under environment under flags; unknown and bad values are refused with the way out."""

from pathlib import Path
from typing import Any

import pytest

from tts_service.config import load_config, settings_help
from tts_service.errors import StartupError


def test_config_flags_win_over_environment_and_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each source overrides the one below it, field by field."""
    file = tmp_path / "service.toml"
    file.write_text('name = "file"\nworkers = 3\nlog_level = "debug"\n[limits]\nsessions = 5\nwaiting_flushes = 7\n')
    monkeypatch.setenv("GREENROOM_SERVICE_WORKERS", "4")
    monkeypatch.setenv("GREENROOM_SERVICE_LIMITS__SESSIONS", "6")
    config = load_config(file, {"log_level": "error"})

    assert ("file", 4, "error") == (config.name, config.workers, config.log_level)
    assert (6, 7) == (config.limits.sessions, config.limits.waiting_flushes)


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("colour = 1", "colour"),
        ("[limits]\ncolour = 1", "limits.colour"),
        ("workers = 0", "workers"),
        ("[limits]\nmax_audio_ahead_seconds = 0.1", "limits.max_audio_ahead_seconds"),
        ('name = "Not A Name"', "name"),
        ("workers = ", "service.toml"),
    ],
)
def test_config_bad_file_is_refused_and_names_the_key(tmp_path: Path, toml: str, key: str) -> None:
    """Unknown keys, values out of range and broken TOML stop the start."""
    file = tmp_path / "service.toml"
    file.write_text(toml)
    with pytest.raises(StartupError) as raised:
        load_config(file, {})

    assert key in str(raised.value)


def test_config_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable is an error, not a setting that is silently ignored."""
    monkeypatch.setenv("GREENROOM_SERVICE_WROKERS", "4")
    with pytest.raises(StartupError) as raised:
        load_config(None, {})

    assert "GREENROOM_SERVICE_WROKERS" in str(raised.value)


def test_config_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(StartupError, match=r"none\.toml"):
        load_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize(("flags", "key"), [({"workers": 0}, "workers"), ({"log_format": "xml"}, "log_format")])
def test_config_bad_flag_is_refused(flags: dict[str, Any], key: str) -> None:
    """Flags keep the same bounds."""
    with pytest.raises(StartupError, match=key):
        load_config(None, flags)


def test_settings_help_lists_every_setting_with_its_default() -> None:
    """The listing names nested settings, too."""
    text = settings_help()

    assert {"# workers = 2", "# sessions = 64", "[residency]", '# speech_address = "127.0.0.1:50051"'} <= set(
        text.splitlines()
    )
