"""The process's memory as the operating system sees it."""

import subprocess
import sys
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


SCRIPT = f"""
from tts_service.residency.process_memory import ProcessMemory
memory = ProcessMemory()
before = memory.resident_bytes()
block = [bytes(1_000 + number % 7) for number in range({BLOCK_BYTES} // 1_000)]
held = memory.resident_bytes()
del block
memory.give_back()
print(held - before, held - memory.resident_bytes())
"""
"""Runs in a process of its own, because a heap that was used before holds free memory already."""


def test_resident_bytes_follow_what_is_held_and_given_back() -> None:
    """A large block shows while it is held and is gone after it was given back."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    taken, returned = map(int, done.stdout.split())

    assert taken > 0.9 * BLOCK_BYTES
    assert returned > 0.8 * BLOCK_BYTES


def test_resident_bytes_are_zero_where_they_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc there is nothing to read, and nothing is made up."""
    monkeypatch.setattr(process_memory, "STATM", tmp_path / "missing")

    assert 0 == ProcessMemory().resident_bytes()


def test_process_memory_shows_what_it_can() -> None:
    """The representation says how much is resident."""
    assert repr(ProcessMemory()).startswith("<ProcessMemory ")
