"""What the driver says that this process holds of a device, and when that is not to be believed."""

import os
from collections.abc import Sequence

import pytest

from tts_service.residency.process_share import ProcessShare, own_share
from tts_service.residency.torch_device import beyond, largest_free_block
from tts_service.residency.types import DeviceUsage

USAGE = DeviceUsage(reserved_bytes=1_000, allocated_bytes=900)


@pytest.mark.parametrize(
    ("processes", "share"),
    [
        ([(7, 500)], 500),
        ([(7, 500), (8, 600)], 500),
        ([(7, None)], None),
        ([(8, 600)], 600),
        ([(8, 600), (9, 700)], None),
        ([(8, None)], None),
        ([], None),
    ],
)
def test_own_share_is_ours_or_the_only_one(processes: Sequence[tuple[int, int | None]], share: int | None) -> None:
    """Our id's, or the one of a list of one, whose id is of another namespace; else it is not known."""
    assert share == own_share(processes, 7)


def test_share_is_asked_for_each_time() -> None:
    """What a process holds changes."""
    answers = iter([[(os.getpid(), 5)], [(os.getpid(), 6)]])
    share = ProcessShare(lambda: next(answers))

    assert [5, 6] == [share.held_bytes(), share.held_bytes()]


def test_share_that_cannot_be_asked_for_is_unknown_from_then_on() -> None:
    """A driver that refuses once is not asked at every report."""
    asked = []

    def refuse() -> list[tuple[int, int | None]]:
        asked.append(1)
        raise OSError("no driver")

    share = ProcessShare(refuse)

    assert ([None, None], 1) == ([share.held_bytes(), share.held_bytes()], len(asked))


def test_share_without_a_driver_is_unknown() -> None:
    """Where there is no GPU, nothing is known of it, and nothing fails."""
    assert ProcessShare.of("GPU-00000000-0000-0000-0000-000000000000").held_bytes() is None


@pytest.mark.parametrize(
    ("share_bytes", "used_bytes", "context_bytes"),
    [(1_423, 5_000, 423), (1_000, 1_000, 0), (None, 5_000, None), (999, 5_000, None), (1_423, 1_400, None)],
)
def test_context_is_what_is_held_beyond_what_is_known(
    share_bytes: int | None, used_bytes: int, context_bytes: int | None
) -> None:
    """A share below what we hold, or above what all hold, is wrong, and then nothing is told."""
    assert context_bytes == beyond(USAGE, share_bytes, used_bytes)


def test_largest_free_block_is_the_allocators_and_no_graphs() -> None:
    """Blocks in use do not count, nor what a graph's own pool keeps."""

    def segment(pool: tuple[int, int], **blocks: int) -> dict[str, object]:
        return {
            "segment_pool_id": pool,
            "blocks": [{"size": size, "state": state.rstrip("_")} for state, size in blocks.items()],
        }

    common = segment((0, 0), active_allocated=90, inactive=20, inactive_=30)

    assert 30 == largest_free_block([common, segment((0, 1), inactive=80), segment((0, 0), inactive=10)])
    assert 0 == largest_free_block([])
