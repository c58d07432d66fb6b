"""When a lane may be held for what nobody waits for: not where that makes somebody late."""

import math

import pytest

from tests.fakes.device_figures import ENGLISH
from tts_service.scheduling.costs import Costs, decode_seconds
from tts_service.scheduling.pauses import bears
from tts_service.scheduling.work import ChunkState, ChunkWork, Priority

COSTS = Costs(figures=ENGLISH)
NOW = 100.0
HELD = 0.15
DECODE = decode_seconds(COSTS, 1)


def chunk(key: int, due_in: float, priority: Priority = Priority.INTERACTIVE) -> ChunkWork:
    """Return a chunk that waits to be decoded."""
    return ChunkWork(
        key=key,
        due_at=NOW + due_in,
        waiting_since=NOW - 1.0,
        steps_left=ENGLISH.solver_steps,
        state=ChunkState.WAITING,
        priority=priority,
    )


@pytest.mark.parametrize(
    ("due_in", "expected"),
    [
        pytest.param([], True, id="nobody"),
        pytest.param([DECODE + HELD + 0.01], True, id="one that has time"),
        pytest.param([DECODE + HELD - 0.01], False, id="one that would be late"),
        pytest.param([DECODE - 0.01], True, id="one that is late in any case"),
        pytest.param([DECODE + HELD + 0.01] * 2, False, id="the second of two"),
        pytest.param([3.0] * 8, True, id="many that are far ahead"),
    ],
)
def test_lane_is_held_only_where_nobody_becomes_late(due_in: list[float], expected: bool) -> None:  # noqa: FBT001  # A table.
    """Chunks are made one after the other, by when they are due."""
    chunks = [chunk(key, seconds) for key, seconds in enumerate(due_in)]

    assert expected == bears(chunks, COSTS, HELD, NOW)


def test_bulk_speaks_against_no_pause() -> None:
    """Nobody listens."""
    assert bears([chunk(1, math.inf, Priority.BULK), chunk(2, 0.0, Priority.BULK)], COSTS, HELD, NOW)
