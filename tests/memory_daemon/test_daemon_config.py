"""What an operator can set: sources, precedence and refusals."""

import os
from pathlib import Path

import pytest

from memory_daemon.config import (
    ConfigError,
    DaemonConfig,
    MetricsSettings,
    PolicyNumbers,
    initial_policy,
    load_config,
)
from memory_daemon.marks import GPU_POLICY, HOST_POLICY, Mark, Policy
from memory_daemon.settings_listing import settings_help


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start from an environment and folders that say nothing."""
    for name in ("CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name.lower()))


def written(tmp_path: Path, text: str) -> Path:
    """Write the configuration file in its usual place."""
    path = tmp_path / "config_home" / "greenroom" / "daemon.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_config_without_any_source_is_the_default(tmp_path: Path) -> None:
    """Everything has a default, in the XDG folders."""
    config = load_config(None, {})

    assert (DaemonConfig.model_fields["journal_files"].default, PolicyNumbers()) == (
        config.journal_files,
        config.policy,
    )
    assert (
        tmp_path / "runtime_dir" / "greenroom" / "services",
        tmp_path / "runtime_dir" / "greenroom" / "policy.sock",
        tmp_path / "state_home" / "greenroom" / "daemon",
    ) == (config.effective_services_dir, config.effective_policy_socket, config.effective_state_dir)


def test_folder_without_xdg_is_below_the_temporary_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a runtime folder sockets are in a folder of this user's."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    actual = load_config(None, {}).effective_policy_socket

    assert actual.parent.parent == tmp_path
    assert actual.parent.name.startswith("greenroom-")


def test_relative_runtime_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the XDG specification says; the service and memctl do the same."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = load_config(None, {})
    folder = tmp_path / f"greenroom-{os.getuid()}"

    assert (folder / "policy.sock", folder / "services", 0o700) == (
        config.effective_policy_socket,
        config.effective_services_dir,
        config.policy_folder_mode,
    )


def test_sources_win_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A flag wins over a variable, which wins over the file, number by number."""
    written(tmp_path, 'journal_files = 2\nwatchers = 3\n[policy]\nlow = "1GB"\nhigh = "4GB"\ngrace_seconds = 4\n')
    monkeypatch.setenv("GREENROOM_DAEMON_WATCHERS", "4")
    monkeypatch.setenv("GREENROOM_DAEMON_POLICY__HIGH", "5GB")
    monkeypatch.setenv("GREENROOM_DAEMON_POLICY__LOW", "2GB")
    config = load_config(None, {"policy": {"low": "3GB"}})

    assert (2, 4, 4.0) == (config.journal_files, config.watchers, config.policy.grace_seconds)
    assert (Mark(size_bytes=3 * 10**9), Mark(size_bytes=5 * 10**9)) == (config.policy.low, config.policy.high)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("watcher = 3", "watcher: Extra inputs are not permitted", id="unknown key"),
        pytest.param("[policy]\nlov = 1", "policy.lov: Extra inputs", id="unknown number"),
        pytest.param("watchers = 0", "watchers: Input should be greater than or equal to 1", id="out of bounds"),
        pytest.param('memory = "tape"', "memory: Input should be 'auto', 'host' or 'gpu'", id="unknown word"),
        pytest.param('[policy]\nlow = "some"', "policy.low: .*'some' is no mark", id="no mark"),
        pytest.param("[policy]\nlow = true", "policy.low", id="a mark that is no size"),
        pytest.param("[policy]\ngrace_seconds = nan", "policy.grace_seconds", id="no number"),
        pytest.param("floors_bytes = {speech = -1}", "floors_bytes.speech", id="a floor below nothing"),
        pytest.param("watchers = ", "daemon.toml", id="no TOML"),
    ],
)
def test_wrong_file_is_refused_with_the_key(tmp_path: Path, text: str, expected: str) -> None:
    """What is wrong is named, with what it may be."""
    written(tmp_path, text)

    with pytest.raises(ConfigError, match=expected):
        load_config(None, {})


@pytest.mark.parametrize("name", ["GREENROOM_DAEMON_WATCHER", "GREENROOM_DAEMON_POLICY__LOV", "GREENROOM_DAEMON_X__Y"])
def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A misspelt variable is no setting."""
    monkeypatch.setenv(name, "1")

    with pytest.raises(ConfigError, match=f"{name}: no such setting"):
        load_config(None, {})


def test_named_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    """A file that was asked for must be there."""
    with pytest.raises(ConfigError, match="there is no such configuration file"):
        load_config(tmp_path / "missing.toml", {})


def test_settings_are_all_described() -> None:
    """Every setting can be listed with its variable and what it does."""
    lines = settings_help().splitlines()
    described = [line for line in lines if line.endswith("]") and line.startswith("# ") and "GREENROOM_DAEMON_" in line]
    tables = (PolicyNumbers, MetricsSettings)

    assert len(described) == len(DaemonConfig.model_fields) + sum(len(table.model_fields) - 1 for table in tables)
    assert "[GREENROOM_DAEMON_POLICY__LOW]" in " ".join(described)


def test_settings_listed_are_a_file_that_says_what_is_so_anyway(tmp_path: Path) -> None:
    """The list can be taken as a configuration: with every default in force, nothing is other than before."""
    file = tmp_path / "daemon.toml"
    lines = [line for line in settings_help().splitlines() if "# not set" not in line]
    file.write_text("\n".join(line.removeprefix("# ") if " = " in line else line for line in lines))

    assert load_config(None, {}) == load_config(file, {})


@pytest.mark.parametrize("defaults", [GPU_POLICY, HOST_POLICY])
def test_initial_policy_without_marks_has_those_of_what_is_watched(defaults: Policy) -> None:
    """Defaults in the code, in the configuration and on the wire are the same numbers."""
    assert defaults == initial_policy(PolicyNumbers(), defaults)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        pytest.param(PolicyNumbers(low=Mark(size_bytes=10**10)), "high: must be at least low", id="marks crossed"),
        pytest.param(PolicyNumbers(renewal_seconds=6), "less than half of valid_for", id="renewed too late"),
        pytest.param(PolicyNumbers(grace_seconds=601), "grace: must be 0 to 600 s", id="too long"),
    ],
)
def test_initial_policy_that_contradicts_itself_is_refused(numbers: PolicyNumbers, expected: str) -> None:
    """The daemon does not begin on numbers that cannot all be meant."""
    with pytest.raises(ConfigError, match=expected):
        initial_policy(numbers, GPU_POLICY)


def test_metrics_are_on_at_loopback_unless_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where scrapes are answered can be said in the file and in a variable, and whether at all by a flag."""
    default = load_config(None, {}).metrics
    written(tmp_path, '[metrics]\naddress = "[::1]:9000"\n')
    from_file = load_config(None, {"metrics": {"enabled": False}}).metrics
    monkeypatch.setenv("GREENROOM_DAEMON_METRICS__ADDRESS", "0.0.0.0:9001")
    from_variable = load_config(None, {}).metrics

    assert (True, "127.0.0.1") == (default.enabled, default.address.rpartition(":")[0])
    assert (False, "[::1]:9000", "0.0.0.0:9001") == (from_file.enabled, from_file.address, from_variable.address)


@pytest.mark.parametrize("address", ["9752", ":9752", "host:port", "::1:9752"])
def test_metrics_address_must_name_host_and_port(address: str) -> None:
    """What is no address is refused at the start, with the setting's name."""
    with pytest.raises(ConfigError, match=r"metrics\.address"):
        load_config(None, {"metrics": {"address": address}})
