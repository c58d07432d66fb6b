"""What an order to move a module costs, measured over a driver for which memory costs nothing."""

import math

import pytest
from structlog.testing import capture_logs

from benchmarks import move_costs

SECONDS = 0.3


def test_costs_of_orders_are_told_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part of the process has its share, and a restore asks the driver for as little as can be."""
    monkeypatch.setattr(move_costs, "SPEECH_MIB", (1,))
    monkeypatch.setattr(move_costs, "ENCODERS", {"tokenizer": 1})
    with capture_logs():
        found = move_costs.measured(SECONDS)
    calls = {name: round(2 * count) for name, count in found["driver_calls"].items()}
    move_costs.print_found(found)

    assert {"the call's own thread", "residency moves", "gRPC's queue", "gRPC's own threads"} <= found[
        "parts_us"
    ].keys()
    assert all(math.isfinite(each) for each in found["parts_us"].values())
    assert found["moves_per_second"] > found["speaking"]["moving"]["moves_per_second"] > 0
    assert dict.fromkeys(("create", "map", "set_access", "release", "copy", "event", "wait", "unmap"), 1) == {
        name: count for name, count in calls.items() if name != "make_current"
    }
