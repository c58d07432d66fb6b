"""No oscillation: what moves for a neighbour who takes and gives back is bounded, at every pace, and ends."""

import pytest

from tests.fakes.policy_waves import (
    HIGH_GIGABYTES,
    NOISE_MOVES_A_MINUTE,
    PERIODS_SECONDS,
    calls_maximum,
    moves_maximum,
    noise,
    outcome,
    square,
)


@pytest.mark.parametrize("high_gigabytes", HIGH_GIGABYTES)
@pytest.mark.parametrize("period_seconds", PERIODS_SECONDS)
def test_square_wave_meets_fewer_and_fewer_modules(period_seconds: float, high_gigabytes: float) -> None:
    """Modules are called home into the first valleys only, until valleys are known to be short."""
    found = outcome(square(period_seconds, high_gigabytes))

    assert found.moves.called_home <= calls_maximum(period_seconds)
    assert found.moves.total <= moves_maximum(period_seconds)


@pytest.mark.parametrize("high_gigabytes", [20.8, 23.0])
@pytest.mark.parametrize("period_seconds", [0.05, 0.5, 2.0, 10.0, 60.0])
def test_noise_of_any_pace_moves_few_modules_a_minute(period_seconds: float, high_gigabytes: float) -> None:
    """Neighbours who want something else every moment meet few modules on the way, even in the busiest minute."""
    found = outcome(noise(period_seconds, high_gigabytes, seed=7))

    assert found.busiest_minute_moves <= NOISE_MOVES_A_MINUTE


def test_bound_of_a_fast_wave_is_one_call() -> None:
    """Valleys of less than the cool-down are called into once, and never again."""
    assert [1, 1, 2, 14] == [calls_maximum(period) for period in (0.05, 2.0, 5.0, 60.0)]
