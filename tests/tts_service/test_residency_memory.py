"""That evicting the real modules really returns memory, and that nobody hears it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("residency_cycles.py")
CYCLES = 12
WARM = 4
"""Cycles after which what libraries keep for good has been allocated; `make bench` runs hundreds."""


@pytest.fixture(scope="module")
def cycles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run a few cycles in a process of their own."""
    cache = tmp_path_factory.mktemp("cache")
    root = SCRIPT.parent.parent.parent
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(cache), str(CYCLES)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, Any] = json.loads(run.stdout)
    return result


def test_eviction_returns_what_the_modules_were_measured_to_hold(cycles: dict[str, Any]) -> None:
    """Between all home and all away, the resident set falls by nine tenths of the measured bytes at least."""
    measured_bytes = sum(cycles["modules"].values())
    returned = [home - away for home, away in zip(cycles["home_bytes"][:-1], cycles["evicted_bytes"][1:], strict=True)]

    assert min(returned) > 0.9 * measured_bytes


def test_eviction_returns_to_the_same_level_every_time(cycles: dict[str, Any]) -> None:
    """Once warm, the resident set with everything away stays within 3 MiB."""
    levels = cycles["evicted_bytes"][WARM:]

    assert max(levels) - min(levels) < 3 << 20


def test_every_module_is_measured(cycles: dict[str, Any]) -> None:
    """No module is taken for free."""
    assert all(home_bytes > 1 << 20 for home_bytes in cycles["modules"].values())


def test_moves_change_no_sample(cycles: dict[str, Any]) -> None:
    """The same text and seed give the same bytes after any number of moves, and the mark is found."""
    assert 1 == len(cycles["spoken"])
    assert cycles["spoken"][0].endswith(" 1.000")
