"""The systemd units: valid and tight by systemd's own judgement, and about the commands that there are."""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from memory_daemon.marks import GPU_POLICY
from tools.both import LOADING_SECONDS
from tts_service.service_manager import STATUS_SECONDS

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
BINARIES = "/opt/greenroom/bin"
EXPOSURE_MAXIMUM = 25
"""Of 100; systemd calls units below 50 OK, and most of a distribution's are above 80."""

NAMES = ("memory-daemon", "tts-service")


def settings(name: str) -> dict[str, str]:
    """Return the last value of every setting of a unit."""
    lines = (UNITS / f"{name}.service").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"[A-Za-z]+=", line))


@pytest.fixture
def systemd_analyze() -> str:
    """Return the command that judges units."""
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.skip("there is no systemd-analyze")
    return command


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Put the units into a folder, with commands to start."""
    for name in NAMES:
        binary = tmp_path / "bin" / name
        binary.parent.mkdir(exist_ok=True)
        binary.write_text("#!/bin/sh\n")
        binary.chmod(0o755)
        text = (UNITS / f"{name}.service").read_text(encoding="utf-8")
        (tmp_path / f"{name}.service").write_text(text.replace(BINARIES, str(binary.parent)))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_unit_is_valid(systemd_analyze: str, installed: Path, name: str) -> None:
    """Systemd finds nothing to say about it."""
    unit = str(installed / f"{name}.service")
    command = [systemd_analyze, "verify", "--man=no", "--recursive-errors=no", unit]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Failed to initialize manager" in found.stderr:
        pytest.skip("systemd-analyze cannot work here")

    assert (0, "") == (found.returncode, found.stderr)


@pytest.mark.parametrize("name", NAMES)
def test_unit_may_do_little(systemd_analyze: str, installed: Path, name: str) -> None:
    """Systemd's own measure of what a broken process could do stays low."""
    unit = str(installed / f"{name}.service")
    command = [systemd_analyze, "security", "--offline=yes", f"--threshold={EXPOSURE_MAXIMUM}", "--no-pager", unit]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "") == (found.returncode, found.stderr)


@pytest.mark.parametrize("name", NAMES)
def test_unit_starts_a_command_that_is_installed(name: str) -> None:
    """What it starts is one of the distribution's commands."""
    installed = {entry.name for entry in importlib.metadata.entry_points(group="console_scripts")}
    command = settings(name)["ExecStart"].split()[0]

    assert BINARIES == str(Path(command).parent)
    assert Path(command).name in installed


def test_watchdog_bites_after_directives_have_expired() -> None:
    """A daemon that hangs first loses its word, then its life: nothing is torn down that might still come back."""
    unit = settings("memory-daemon")

    assert ("notify", "always") == (unit["Type"], unit["Restart"])
    assert float(unit["WatchdogSec"]) > GPU_POLICY.valid_for_seconds


def test_service_is_watched_by_what_it_says() -> None:
    """It is ready when it speaks, and given time to load; its event loop may miss many words before it is killed."""
    unit = settings("tts-service")

    assert ("notify", "on-failure") == (unit["Type"], unit["Restart"])
    assert float(unit["WatchdogSec"]) > 10 * STATUS_SECONDS
    assert float(unit["TimeoutStartSec"]) >= LOADING_SECONDS


def test_units_share_folders_and_leave_each_other_in_peace() -> None:
    """Both find each other below one folder, which stays when one of them stops."""
    both = [settings(name) for name in NAMES]
    keys = ("RuntimeDirectory", "RuntimeDirectoryPreserve", "User", "Group")

    assert [both[0][key] for key in keys] == [both[1][key] for key in keys]
    assert "yes" == both[0]["RuntimeDirectoryPreserve"]
