"""The process's memory as the operating system sees it."""

from pathlib import Path

import pytest

from tts_service.residency import process_memory
from tts_service.residency.process_memory import ProcessMemory

BLOCK_BYTES = 64 << 20


def test_resident_bytes_follow_what_is_held_and_given_back() -> None:
    """A large block shows while it is held and is gone after it was given back."""
    memory = ProcessMemory()
    before = memory.resident_bytes()
    block = [bytes(1_000 + number % 7) for number in range(BLOCK_BYTES // 1_000)]
    held = memory.resident_bytes()
    del block
    memory.give_back()
    after = memory.resident_bytes()

    assert held - before > 0.9 * BLOCK_BYTES
    assert held - after > 0.8 * BLOCK_BYTES


def test_resident_bytes_are_zero_where_they_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc there is nothing to read, and nothing is made up."""
    monkeypatch.setattr(process_memory, "STATM", tmp_path / "missing")

    assert 0 == ProcessMemory().resident_bytes()


def test_process_memory_shows_what_it_can() -> None:
    """The representation says how much is resident."""
    assert repr(ProcessMemory()).startswith("<ProcessMemory ")
