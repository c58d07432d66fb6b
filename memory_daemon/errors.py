"""What can go wrong in the daemon, said once; `statuses` alone turns it into gRPC statuses."""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The reasons that travel in `google.rpc.ErrorInfo`."""

    BAD_CONFIG = "BAD_CONFIG"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    MODULE_NOT_FOUND = "MODULE_NOT_FOUND"
    AT_CAPACITY = "AT_CAPACITY"
    ENGINE_FAULT = "ENGINE_FAULT"
    NOTHING_TO_UNDO = "NOTHING_TO_UNDO"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field at fault: its path in the message, and what is wrong with it."""

    field: str
    description: str


class DaemonError(Exception):
    """A refusal or failure with a reason for the wire; `retry_after_seconds` is set where trying again makes sense."""

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.retry_after_seconds = retry_after_seconds

    def __repr__(self) -> str:
        return f"<DaemonError {self.reason}: {self.message}>"


class StartupError(Exception):
    """The daemon cannot start; the message says what to do. Never crosses the wire."""


def bad_config(violations: tuple[FieldViolation, ...]) -> DaemonError:
    """Return the error for fields at fault; there is at least one."""
    assert violations
    words = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
    return DaemonError(Reason.BAD_CONFIG, words, violations=violations)
