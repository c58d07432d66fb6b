"""The process's memory as the operating system sees it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tts_service.residency import process_memory
from tts_service.residency.process_memory import ProcessMemory

ROOT = Path(__file__).resolve().parent.parent.parent

SCRIPT = """
import sys
from tts_service.residency.process_memory import ProcessMemory
memory = ProcessMemory()
readings = [memory.resident_bytes()]
kept = [bytes(1_000 + number % 7) for number in range(64_000)]
readings.append(memory.resident_bytes())
kept = kept[-1:]
readings.append(memory.resident_bytes())
memory.give_back()
readings.append(memory.resident_bytes())
sys.stdout.write(" ".join(map(str, readings)))
"""
"""Takes 64 MB in small blocks and lets all go but the last, which keeps the C library from giving back by itself."""


def test_resident_bytes_follow_what_is_held_and_given_back() -> None:
    """Blocks show while they are held, and those that were let go are gone after `give_back`."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    before, held, _, after = map(int, done.stdout.split())

    assert held - before > 60_000_000
    assert held - after > 50_000_000


def test_resident_bytes_are_zero_where_they_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc there is nothing to read, and nothing is made up."""
    monkeypatch.setattr(process_memory, "STATM", tmp_path / "missing")

    assert 0 == ProcessMemory().resident_bytes()


def test_process_memory_shows_what_it_can() -> None:
    """The representation says how much is resident."""
    assert repr(ProcessMemory()).startswith("<ProcessMemory ")
