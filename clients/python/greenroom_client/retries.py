"""When to try again: only where the status says so. Pure; the caller sleeps and draws the jitter.

Rule 1: a RetryInfo is obeyed, never undercut, whatever the code.
Rule 2: without one, only UNAVAILABLE is tried again (AIP-194), after a delay that doubles.
Rule 3: nothing that has delivered audio is ever tried again; callers do not even ask.
"""

from dataclasses import dataclass

from greenroom_client.errors import ServiceError, UnavailableError

TOLD_JITTER_SHARE = 0.2
"""Clients that were all told the same delay come back spread over so much more of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounds of trying again. `max_attempts` counts the first one; 1 never tries again."""

    max_attempts: int = 4
    first_delay_seconds: float = 0.1
    max_delay_seconds: float = 5.0
    """A RetryInfo that asks for more than this is handed to the caller instead."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or not 0 <= self.first_delay_seconds <= self.max_delay_seconds:
            raise ValueError(f"a retry policy needs at least one attempt and rising delays: {self}")


ONE_ATTEMPT = RetryPolicy(max_attempts=1)
"""For what cannot be repeated, such as an upload from an iterator."""


def delay_seconds(policy: RetryPolicy, error: ServiceError, *, attempt: int, jitter: float) -> float | None:
    """Return how long to wait after failed attempt number `attempt` (from 1), or None to give up.

    `jitter` is a number in [0, 1), drawn by the caller.
    """
    if attempt >= policy.max_attempts:
        return None
    if error.retry_after_seconds is not None:
        if error.retry_after_seconds > policy.max_delay_seconds:
            return None
        return error.retry_after_seconds * (1 + TOLD_JITTER_SHARE * jitter)
    if isinstance(error, UnavailableError):
        delay = min(policy.max_delay_seconds, policy.first_delay_seconds * 2.0 ** (attempt - 1))
        return delay * (0.5 + 0.5 * jitter)
    return None
