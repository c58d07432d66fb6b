"""The rows that the load tool answers for, each with what it is to reach, and the file that keeps them."""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.gpu_rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a row is to reach: `most`, or `least` where more is better."""

    unit: str
    most: float | None = None
    least: float | None = None

    def row(self, value: float, spread: str = "") -> Row:
        """Return the row of a value."""
        return Row(value=round(value, 3), unit=self.unit, spread=spread, most=self.most, least=self.least)


REACHES: Final[Mapping[str, Reach]] = {
    "sessions_english": Reach(unit="sessions", least=64),
    "sessions_turbo": Reach(unit="sessions", least=200),
    "sessions_builtin": Reach(unit="sessions", least=50),
    "first_audio_p95_ms_32": Reach(unit="ms", most=300),
    "throughput_x_english": Reach(unit="x real time", least=100),
    "first_audio_ratio_32": Reach(unit="", most=3),
    "chunk_p99_ms_50": Reach(unit="ms", most=1),
    "reject_ms": Reach(unit="ms", most=10),
}
OTHER: Final = {"sessions": Reach(unit="sessions", least=0), "throughput": Reach(unit="x real time", least=0)}
"""Of models for which no number is promised."""

BUILTIN: Final = "builtin"


def family(model: str) -> str:
    """Return what rows call a model: its own name, or that of the built-in voice."""
    return model if model in {"english", "multilingual", "turbo"} else BUILTIN


def row(name: str, value: float, spread: str = "") -> tuple[str, Row]:
    """Return a row by its name."""
    reach = REACHES[name] if name in REACHES else OTHER[name.partition("_")[0]]
    return name, reach.row(value, spread)


def merge(path: Path, rows: Mapping[str, Row], about: Mapping[str, str]) -> None:
    """Write rows into a file; what other runs wrote there stays."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    found = kept.setdefault("rows", {})
    for name, each in rows.items():
        fields = {key: value for key, value in each.fields().items() if key not in {"peer", "plain"}}
        reach = each.most if each.most is not None else each.least
        found[name] = {**fields, "reach": reach, "met": each.is_met, **about}
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(json.dumps(kept, indent=1) + "\n")
    fresh.replace(path)


def about(command: str, model: str) -> dict[str, str]:
    """Return what a row's reader has to know of the run."""
    return {
        "model": model,
        "command": command,
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total >> 30} GiB",
        "device": _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader") or "none",
    }


def _output(*command: str) -> str:
    """Return the first line that a command prints; empty if there is no such command, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20.0)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else ""
