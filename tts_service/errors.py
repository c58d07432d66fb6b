"""What can go wrong, said once: each error knows whose fault it was and its reason on the wire.

`api/statuses.py` alone turns them into gRPC statuses. `CallerError` is the caller's fault and can be mended by the
caller; `ServiceError` is ours.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The reasons that travel in `google.rpc.ErrorInfo`."""

    BAD_CONFIG = "BAD_CONFIG"
    TEXT_TOO_LONG = "TEXT_TOO_LONG"
    BAD_LANGUAGE = "BAD_LANGUAGE"
    BAD_AUDIO = "BAD_AUDIO"
    CONFIG_NOT_FIRST = "CONFIG_NOT_FIRST"
    GOVERNED = "GOVERNED"
    RESIDENCY_OFF = "RESIDENCY_OFF"
    VOICE_NOT_FOUND = "VOICE_NOT_FOUND"
    MODULE_NOT_FOUND = "MODULE_NOT_FOUND"
    AT_CAPACITY = "AT_CAPACITY"
    DEVICE_MEMORY = "DEVICE_MEMORY"
    DRAINING = "DRAINING"
    ENGINE_STARTING = "ENGINE_STARTING"
    ENGINE_RESTARTING = "ENGINE_RESTARTING"
    ETAG_MISMATCH = "ETAG_MISMATCH"
    SUPERSEDED = "SUPERSEDED"
    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    QUEUE_TIMEOUT = "QUEUE_TIMEOUT"
    ENGINE_FAULT = "ENGINE_FAULT"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field at fault: its path in the message, and what is wrong with it."""

    field: str
    description: str


class GreenroomError(Exception):
    """A failure with a reason for the wire.

    `metadata` holds the dynamic values of the message; `retry_after_seconds` is set where trying again makes sense.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        metadata: dict[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.violations = violations
        self.metadata = metadata or {}
        self.retry_after_seconds = retry_after_seconds

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.reason}: {self.message}>"


class CallerError(GreenroomError):
    """The caller's fault."""


class ServiceError(GreenroomError):
    """Our fault, or the machine's."""


class StartupError(Exception):
    """The service cannot start; the message says what to do. Never crosses the wire."""


def bad_config(field: str, description: str, reason: Reason = Reason.BAD_CONFIG) -> CallerError:
    """Return the error for one bad field."""
    return CallerError(
        reason, f"{field}: {description}", violations=(FieldViolation(field=field, description=description),)
    )


def voice_not_found(voice_id: str) -> CallerError:
    """Return the error for a voice that is not there."""
    name = voice_id[:128]
    message = f"there is no voice {name!r}; ListVoices names those that there are"
    return CallerError(Reason.VOICE_NOT_FOUND, message, metadata={"voice": name})
