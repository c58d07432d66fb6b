"""SIGHUP: the configuration is read again, and a broken one changes nothing."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from memory_daemon.audit import Audit
from memory_daemon.config import ConfigError, DaemonConfig
from memory_daemon.journal_records import PolicyChanged, Record
from memory_daemon.marks import HOST_POLICY, Policy
from memory_daemon.reload import BY_RELOAD, Configured, Reloader
from memory_daemon.store import PolicyStore
from tests.fakes.daemon_process import DaemonProcess
from tests.fakes.manual_clock import ManualClock


class File:
    """A configuration file whose content is a policy, or nothing that can be used."""

    def __init__(self, folder: Path) -> None:
        self.policy: Policy | None = HOST_POLICY
        self.config = DaemonConfig(state_dir=folder)
        self.records: list[Record] = []
        self.policies = PolicyStore(folder=folder, initial=HOST_POLICY, unix_clock=ManualClock())
        self.reloader = Reloader(
            config=self.config,
            configured=Configured(read=lambda: self.config, policy_of=self._policy),
            policies=self.policies,
            audit=Audit(write=self.records.append, wake=lambda: None),
        )

    def _policy(self, config: DaemonConfig) -> Policy:
        assert config is self.config
        if self.policy is None:
            raise ConfigError("daemon.toml: it is no TOML")
        return self.policy


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Return a file in a folder."""
    return File(tmp_path)


def test_changed_file_is_in_force_and_journalled(file: File) -> None:
    """The change is the file's, with each number from what to what."""
    file.policy = replace(HOST_POLICY, grace_seconds=7.0)
    file.reloader.reload()

    assert (7.0, BY_RELOAD) == (file.policies.current.policy.grace_seconds, file.policies.current.updated_by)
    assert [{"grace_seconds": ("1.0", "7.0")}] == [
        one.changes for one in file.records if isinstance(one, PolicyChanged)
    ]


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(None, id="no TOML"),
        pytest.param(replace(HOST_POLICY, grace_seconds=7000.0), id="a number out of its range"),
    ],
)
def test_broken_file_keeps_the_policy_in_force(file: File, policy: Policy | None) -> None:
    """The last good one stays, and so does what a number that is not set goes back to."""
    file.policy = policy
    file.reloader.reload()

    assert (HOST_POLICY, HOST_POLICY, []) == (file.policies.current.policy, file.policies.initial, file.records)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonProcess]:
    """Start a real daemon with a configuration file, and end it."""
    write(tmp_path, "grace_seconds = 3.0")
    with ExitStack() as stack:
        process = DaemonProcess(tmp_path, "--memory", "host")
        stack.callback(process.close)
        process.start()
        yield process


def write(folder: Path, text: str) -> None:
    """Write the configuration file's policy."""
    path = folder / "config" / "greenroom" / "daemon.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[policy]\n{text}\n")


def test_real_daemon_reloads_on_sighup_and_survives_a_corrupt_file(daemon: DaemonProcess, tmp_path: Path) -> None:
    """A tuned number gives way to the file; a file that is no TOML is said to be, and the daemon goes on as it was."""
    tuned = daemon.set_marks(low=12.0)
    write(tmp_path, "grace_seconds = 4.0")
    daemon.send(signal.SIGHUP)
    daemon.wait_for_event("configuration_reloaded")
    reloaded = daemon.policy()
    write(tmp_path, "grace_seconds = [broken")
    daemon.send(signal.SIGHUP)
    trouble = daemon.wait_for_event("configuration_not_reloaded")

    assert (12.0, 10.0, 4) == (tuned.low.percent, reloaded.low.percent, reloaded.grace.seconds)
    assert (reloaded, True) == (daemon.policy(), "daemon.toml" in trouble["error"])


def test_sighup_while_the_daemon_begins_waits_until_it_can_be_followed(tmp_path: Path) -> None:
    """It neither ends the daemon nor is it lost: what the file says by then is in force."""
    write(tmp_path, "grace_seconds = 3.0")
    process = DaemonProcess(tmp_path, "--memory", "host")
    process.state.mkdir()
    os.mkfifo(process.state / "policy.json")
    with ExitStack() as stack:
        stack.callback(process.close)
        process.start(wait=False)
        # It has read its configuration, and now waits for a kept policy that never comes.
        with (process.state / "policy.json").open("wb"):
            write(tmp_path, "grace_seconds = 4.0")
            process.send(signal.SIGHUP)
        process.wait_for_event("configuration_reloaded")
        process.wait_for_event("listening")
        reloaded = process.policy()

        assert (4, 0) == (reloaded.grace.seconds, process.end())
