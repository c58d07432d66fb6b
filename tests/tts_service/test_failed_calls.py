"""What the log says of calls that failed, in a flood and out of it."""

import structlog.testing

from tts_service.api.failed_calls import LINES_PER_SECOND, FailedCalls
from tts_service.errors import CallerError, Reason, ServiceError

FULL = ServiceError(Reason.AT_CAPACITY, "there is no room")


def test_flood_of_failures_logs_some_and_counts_the_others() -> None:
    """Ten lines a second; the first line after that tells how many were left out."""
    now = [5.0]
    failed = FailedCalls(lambda: now[0])
    with structlog.testing.capture_logs() as lines:
        for _ in range(LINES_PER_SECOND + 7):
            failed.note("session_failed", FULL)
        now[0] = 6.0
        failed.note("session_failed", FULL)
        failed.note("session_failed", FULL)

    assert [None] * LINES_PER_SECOND + [7, None] == [line.get("left_out") for line in lines]


def test_failure_of_another_kind_is_logged_in_the_midst_of_a_flood() -> None:
    """One reason's flood hides no other."""
    failed = FailedCalls(lambda: 1.0)
    with structlog.testing.capture_logs() as lines:
        for _ in range(LINES_PER_SECOND + 1):
            failed.note("session_failed", FULL)
        failed.note("session_failed", CallerError(Reason.BAD_CONFIG, "no such voice"))

    assert ("BAD_CONFIG", "no such voice") == (lines[-1]["reason"], lines[-1]["message"])
