"""What can go wrong for a caller, by what the caller can do about it.

`ServiceError` and its kinds are answers of the service (or the lack of one); they carry what the wire said. The rest
name something inside a session. Retrying is decided in `retries.py`, never by looking at a message's text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom_client.events import Cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """One field at fault: its path in the message, and what is wrong with it."""

    field: str
    description: str


class GreenroomError(Exception):
    """Everything that this package raises on purpose, but for wrong arguments (ValueError)."""


class ServiceError(GreenroomError):
    """The service said no, or said nothing.

    `code` is the gRPC status code's name; `reason` is empty where the status came from the transport;
    `retry_after_seconds` is set where the service says that trying again makes sense.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        metadata: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.violations = violations
        self.metadata = dict(metadata or {})
        self.retry_after_seconds = retry_after_seconds

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.reason or self.code}: {self.message}>"


class InvalidRequestError(ServiceError):
    """The request can never work as it is; `violations` names the fields."""


class NotFoundError(ServiceError):
    """There is no such voice, or other named thing."""


class PreconditionError(ServiceError):
    """The request is fine, but not now or not in this order."""


class AccessError(ServiceError):
    """The caller may not do this, or did not say who it is."""


class AtCapacityError(ServiceError):
    """The service has no room at the moment."""


class AbortedError(ServiceError):
    """Somebody else was first; read again and redo."""


class DeadlineError(ServiceError):
    """Time ran out: the caller's, or a limit of the service such as the idle time of a session."""


class NoAnswerError(DeadlineError):
    """The service said nothing for as long as this side was willing to wait."""


class UnavailableError(ServiceError):
    """The service is there and does not serve, such as while it drains."""


class UnreachableError(UnavailableError):
    """The service cannot be reached, or the connection to it was lost."""


class ServiceFaultError(ServiceError):
    """The service failed; nothing that the caller did."""


class UtteranceFailed(GreenroomError):  # noqa: N818 - Says what happened; UtteranceError is the wire's message.
    """One utterance failed. Its session lives; `error` says why."""

    def __init__(self, utterance_id: str, error: ServiceError) -> None:
        super().__init__(f"utterance {utterance_id!r} failed: {error.message}")
        self.utterance_id = utterance_id
        self.error = error


class UtteranceInterrupted(GreenroomError):  # noqa: N818 - Says what happened, and it is nobody's error.
    """The utterance was cancelled, so it has no result and takes no text; `cancelled` is what the service said."""

    def __init__(self, utterance_id: str, cancelled: "Cancelled | None" = None) -> None:
        super().__init__(f"utterance {utterance_id!r} was cancelled")
        self.utterance_id = utterance_id
        self.cancelled = cancelled


class MessageRefused(GreenroomError):  # noqa: N818 - Says what happened; the utterance goes on.
    """The service refused one message, such as text over the limit; its utterance goes on without it."""

    def __init__(self, utterance_id: str, error: ServiceError) -> None:
        super().__init__(f"the service refused a message for utterance {utterance_id!r}: {error.message}")
        self.utterance_id = utterance_id
        self.error = error


class AudioOverrunError(GreenroomError):
    """Audio of this utterance was not read while others were waited for, and memory for it ran out; it was dropped."""


class SessionClosedError(GreenroomError):
    """The session is over, on this side or, without an error, on the service's."""


class ProtocolError(GreenroomError):
    """The service broke its own contract, such as by a gap in the audio."""


def no_answer(message: str) -> NoAnswerError:
    """Return the error for a service that this side has waited for in vain."""
    return NoAnswerError(message, code="DEADLINE_EXCEEDED", reason="NO_ANSWER")
