"""What a user of `tts-say` is told when something goes wrong, and the exit code that scripts see. Pure."""

from dataclasses import dataclass
from enum import IntEnum

from greenroom_client.errors import (
    AtCapacityError,
    GreenroomError,
    MessageRefused,
    NoAnswerError,
    NotFoundError,
    ServiceError,
    UnreachableError,
    UtteranceFailed,
)


class ExitCode(IntEnum):
    """The command's exit codes; `--help` documents them."""

    OK = 0
    FAILED = 1
    """The service refused or failed, or the output could not be written."""
    USAGE = 2
    """Wrong options, or a text that cannot be spoken."""
    UNREACHABLE = 3
    """Nothing answers at the address, or no longer."""
    INTERRUPTED = 130
    """Ctrl-C: 128 and the number of SIGINT."""
    TERMINATED = 143
    """128 and the number of SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What happened, what to do about it (or nothing), and how the command ends."""

    exit_code: ExitCode
    message: str
    hint: str = ""
    reason: str = ""
    retry_after_seconds: float | None = None

    def to_json(self) -> dict[str, object]:
        """Return it as the `error` of the command's JSON."""
        return {
            "message": self.message,
            "hint": self.hint,
            "reason": self.reason,
            "retry_after_seconds": self.retry_after_seconds,
        }


class CommandError(Exception):
    """Something on this side of the wire is wrong."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CommandError):
    """The options contradict each other, or name what cannot be."""

    exit_code = ExitCode.USAGE


class TextError(CommandError):
    """The text cannot be read, or there is none."""

    exit_code = ExitCode.USAGE


class OutputError(CommandError):
    """The audio cannot be written."""


def problem_of(error: CommandError | GreenroomError, server: str) -> Problem:
    """Return what to tell about an error, given the address that was asked for."""
    match error:
        case CommandError():
            return Problem(exit_code=error.exit_code, message=str(error), hint=error.hint)
        case UnreachableError():
            return Problem(
                exit_code=ExitCode.UNREACHABLE,
                message=f"the service at {server} cannot be reached, or was lost: {error.message}",
                hint="Start it with tts-service, or name another with --server or GREENROOM_SERVER.",
                reason=error.reason or error.code,
            )
        case NoAnswerError():
            return Problem(
                exit_code=ExitCode.UNREACHABLE,
                message=f"the service at {server} does not answer: {error.message}",
                reason=error.reason,
            )
        case ServiceError():
            return Problem(
                exit_code=ExitCode.FAILED,
                message=_with_fields(error),
                hint=_hint(error),
                reason=error.reason or error.code,
                retry_after_seconds=error.retry_after_seconds,
            )
        case UtteranceFailed(error=cause) | MessageRefused(error=cause):
            return problem_of(cause, server)
        case _:
            return Problem(exit_code=ExitCode.FAILED, message=str(error))


def _with_fields(error: ServiceError) -> str:
    """Return the service's words, and the fields at fault where the words do not name them."""
    missing = [f"{v.field}: {v.description}" for v in error.violations if v.field not in error.message]
    return "; ".join([error.message, *missing])


def _hint(error: ServiceError) -> str:
    if isinstance(error, NotFoundError) and error.reason == "VOICE_NOT_FOUND":
        return "See the voices with --list-voices."
    if error.reason == "TEXT_TOO_LONG":
        return "Write .wav or .ogg: they take texts of any length."
    if error.retry_after_seconds is not None:
        return f"Try again in {error.retry_after_seconds:.3g} s."
    if isinstance(error, AtCapacityError):
        return "Try again later."
    return ""
