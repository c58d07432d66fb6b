"""Configuration: file under environment under flags; unknown and bad values are refused with the way out."""

from pathlib import Path
from typing import Any

import pytest

from tts_service.config import RestTier, load_config
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


@pytest.mark.parametrize(
    "toml",
    [
        '[residency.rest]\nt3 = "moon"',
        "[residency]\nstatic_low_bytes = -1",
        "[residency]\nstatic_low_bytes = 1\nstatic_critical_bytes = 2",
        "[residency]\nprefetch = 3",
    ],
)
def test_config_bad_residency_is_refused(tmp_path: Path, toml: str) -> None:
    """Tiers that there are not and marks in the wrong order stop the start."""
    file = tmp_path / "service.toml"
    file.write_text(toml)
    with pytest.raises(StartupError, match="residency"):
        load_config(file, {})


def test_config_residency_is_on_with_everything_that_makes_it_fast() -> None:
    """By default modules move, marks and clean-up are off, and no module is told where to rest.

    Asynchronous transfer is off: with it, restore times are measured when copies begin, and others plan by them.
    """
    residency = load_config(None, {}).residency

    assert (True, True, True, True, True) == (
        residency.enabled,
        residency.prefetch,
        residency.arenas,
        residency.captured,
        residency.history,
    )
    assert (False, False, 0, 0, {}) == (
        residency.asynchronous_transfer,
        residency.aggressive_cleanup,
        residency.static_low_bytes,
        residency.static_critical_bytes,
        residency.rest,
    )


def test_config_rest_can_stand_in_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is JSON there, because names of modules have dots."""
    monkeypatch.setenv("GREENROOM_SERVICE_RESIDENCY__REST", '{"s3gen.flow": "host"}')

    assert {"s3gen.flow": RestTier.HOST} == load_config(None, {}).residency.rest


def test_config_metrics_are_on_at_loopback_unless_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scrapes are answered can be said in a file and in a variable, and whether at all by a flag."""
    file = tmp_path / "service.toml"
    file.write_text('[metrics]\naddress = "[::1]:9000"\n')
    default = load_config(None, {}).metrics
    from_file = load_config(file, {"metrics": {"enabled": False}}).metrics
    monkeypatch.setenv("GREENROOM_SERVICE_METRICS__ADDRESS", "0.0.0.0:9001")
    from_variable = load_config(file, {}).metrics

    assert (True, "127.0.0.1") == (default.enabled, default.address.rpartition(":")[0])
    assert (False, "[::1]:9000", "0.0.0.0:9001") == (from_file.enabled, from_file.address, from_variable.address)


@pytest.mark.parametrize("address", ["9751", "localhost", ":9751", "host:port", "::1:9751", ""])
def test_config_metrics_address_must_name_host_and_port(address: str) -> None:
    """What is no address is refused at the start, with the setting's name."""
    with pytest.raises(StartupError) as raised:
        load_config(None, {"metrics": {"address": address}})

    assert "metrics.address" in str(raised.value)
