"""Runs the memory daemon's simulation as a program of its own and reads its answer.

The programs share no code: what goes in are files, what comes out is one JSON document.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memctl.errors import MemctlError
from memctl.simulation_types import Trial, trials_of

PROGRAM = "memory_daemon.simulate"
LONGEST_SECONDS = 600.0
"""A week of journal takes about a minute."""


def simulated(
    traces: Sequence[Path], policies: Sequence[str], *, with_rivals: bool, program: str = PROGRAM
) -> tuple[Trial, ...]:
    """Return what came of every policy; MemctlError with what the simulation said where it failed."""
    words = [f"--policy={policy}" for policy in policies] + ["--rivals"] * with_rivals + [str(path) for path in traces]
    try:
        ended = subprocess.run(  # noqa: S603  Our own program, with files as words.
            [sys.executable, "-P", "-m", program, *words],  # Nothing in the operator's folder is taken for a module.
            check=False,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _failed(f"it took longer than {LONGEST_SECONDS:g} s", "Cut the trace into pieces.") from error
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        raise _failed(said[-1] if said else f"exit code {ended.returncode}", "Check the trace and the policies.")
    return _read(ended.stdout)


def _read(text: str) -> tuple[Trial, ...]:
    try:
        told: dict[str, Any] = json.loads(text)
        return trials_of(told)
    except (ValueError, KeyError, TypeError) as error:
        raise _failed(f"its answer cannot be read: {error}", "Are memctl and memory-daemon of one version?") from error


def _failed(happened: str, way_out: str) -> MemctlError:
    return MemctlError(f"Nothing was simulated: {happened}", reason="SIMULATION_FAILED", way_out=way_out)
