"""What moves do to others, measured over a driver in host memory."""

import math

import pytest
import torch
from structlog.testing import capture_logs

from benchmarks import unnoticed_moves


def test_what_moves_do_to_others_is_measured_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches and small copies beside nothing, arenas and a residency, and wakes: each row has its figure."""
    monkeypatch.setitem(unnoticed_moves.LAUNCHES, "cpu", 40)
    monkeypatch.setitem(unnoticed_moves.WAKES, "cpu", 1)
    with capture_logs():
        found = unnoticed_moves.measured(torch.device("cpu"))
    rows = unnoticed_moves.rows(found)

    assert {"still", "arenas move", "a residency moves", "wake"} == set(found)
    assert all(math.isfinite(value) and value >= 0 for value, _, _ in rows.values()), rows
