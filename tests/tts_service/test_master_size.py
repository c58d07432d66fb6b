"""What the study of compressed masters computes: planes, their entropy, and the rates that follow."""

import math

import pytest
import torch

from benchmarks.master_size import COPY_GB_PER_SECOND, Saving, entropy_of_planes, planes, sampled, savings


def test_planes_put_equal_bytes_of_all_values_together() -> None:
    """All first bytes, then all second ones."""
    assert b"acebdf" == planes(b"abcdef", 2)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(b"\x07" * 64, 0.0), (bytes(range(256)), 1.0), (b"\x00\x00\x01\x00" * 16, 1 / 16)],
    ids=["constant", "anything", "one bit of sixteen"],
)
def test_entropy_is_what_a_coder_of_bytes_cannot_beat(values: bytes, expected: float) -> None:
    """A constant needs nothing, what is uniform everything."""
    width = 1 if len(values) == 256 else 2

    assert math.isclose(expected, entropy_of_planes(values, width), abs_tol=1e-9)


def test_weights_that_are_normal_numbers_in_bf16_keep_two_thirds() -> None:
    """Their exponents are alike, their other bits are not."""
    values = torch.randn(1 << 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    data = values.view(torch.uint8).numpy().tobytes()
    rows = list(savings("weights", [data], 2, threads=1))

    assert 0.6 < rows[0].kept < 0.72
    assert all(rows[0].kept - 0.01 < each.kept for each in rows[1:])
    assert all(each.gb_per_second is not None and each.gb_per_second > 0 for each in rows[1:])


def test_restore_is_never_faster_than_the_copy() -> None:
    """What comes out faster than the bus takes it waits for the bus."""
    fast, slow = (
        Saving(module="m", way="w", kept=0.5, threads=1, gb_per_second=rate).restore_ms_per_gib
        for rate in (1000.0, 1.0)
    )

    assert fast is not None
    assert slow is not None
    assert math.isclose(1073.741824 / COPY_GB_PER_SECOND, fast)
    assert math.isclose(1073.741824, slow)


def test_sample_of_a_small_master_is_the_master() -> None:
    """A module of a few bytes is looked at as a whole."""
    memory = torch.arange(64, dtype=torch.uint8)

    assert [memory.numpy().tobytes()] == sampled(memory)
