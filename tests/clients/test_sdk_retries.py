"""The decision to try again: only where the status says so, bounded, with jitter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom_client.errors import (
    AtCapacityError,
    InvalidRequestError,
    ServiceError,
    ServiceFaultError,
    UnavailableError,
    UnreachableError,
    no_answer,
)
from greenroom_client.retries import ONE_ATTEMPT, RetryPolicy, delay_seconds

POLICY = RetryPolicy(max_attempts=4, first_delay_seconds=0.1, max_delay_seconds=2.0)


def unavailable(*, retry_after_seconds: float | None = None) -> ServiceError:
    """Return an error that says UNAVAILABLE."""
    return UnavailableError("away", code="UNAVAILABLE", reason="DRAINING", retry_after_seconds=retry_after_seconds)


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequestError("no", code="INVALID_ARGUMENT"),
        ServiceFaultError("broken", code="INTERNAL"),
        AtCapacityError("full", code="RESOURCE_EXHAUSTED"),
        no_answer("silence"),
    ],
)
def test_error_without_an_invitation_is_not_tried_again(error: ServiceError) -> None:
    """Nothing but UNAVAILABLE and a RetryInfo leads to another attempt."""
    assert delay_seconds(POLICY, error, attempt=1, jitter=0.0) is None


@pytest.mark.parametrize(("attempt", "delay"), [(1, 0.1), (2, 0.2), (3, 0.4)])
def test_delay_without_advice_doubles(attempt: int, delay: float) -> None:
    """An unreachable service is asked again after delays that double, up to half of them jitter."""
    error = UnreachableError("gone", code="UNAVAILABLE")

    assert pytest.approx(delay / 2) == delay_seconds(POLICY, error, attempt=attempt, jitter=0.0)
    assert pytest.approx(delay) == delay_seconds(POLICY, error, attempt=attempt, jitter=1.0)


def test_advice_of_the_service_is_never_undercut() -> None:
    """A RetryInfo is waited for, and a little longer, so that clients do not come back all at once."""
    error = AtCapacityError("full", code="RESOURCE_EXHAUSTED", retry_after_seconds=1.0)

    assert 1.0 == delay_seconds(POLICY, error, attempt=1, jitter=0.0)
    assert pytest.approx(1.2) == delay_seconds(POLICY, error, attempt=1, jitter=1.0)


def test_advice_to_wait_too_long_is_left_to_the_caller() -> None:
    """A RetryInfo beyond the policy's bound is not slept through."""
    assert delay_seconds(POLICY, unavailable(retry_after_seconds=2.5), attempt=1, jitter=0.0) is None


def test_single_attempt_policy_never_tries_again() -> None:
    """What cannot be repeated is not."""
    assert delay_seconds(ONE_ATTEMPT, unavailable(retry_after_seconds=0.1), attempt=1, jitter=0.0) is None


@given(
    attempt=st.integers(1, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    told=st.none() | st.floats(0, 10, allow_nan=False),
)
def test_delay_stays_within_its_bounds_whatever_happens(attempt: int, jitter: float, told: float | None) -> None:
    """Attempts are bounded, delays are bounded, and advice is kept."""
    delay = delay_seconds(POLICY, unavailable(retry_after_seconds=told), attempt=attempt, jitter=jitter)

    assert (delay is None) == (attempt >= 4 or (told is not None and told > 2.0))
    assert delay is None or (told or 0.0) <= delay <= 2.0 * 1.2


@pytest.mark.parametrize("fields", [{"max_attempts": 0}, {"first_delay_seconds": -1.0}, {"max_delay_seconds": 0.01}])
def test_policy_that_makes_no_sense_is_refused(fields: dict[str, float]) -> None:
    """A policy has at least one attempt and delays that rise."""
    with pytest.raises(ValueError, match="retry policy"):
        RetryPolicy(**fields)  # type: ignore[arg-type]  # The table mixes whole numbers and others.
