"""Single fields of a message as plain values: enums, moments, lengths of time.

What a newer daemon sends and this build does not know (an enum's number, a field) becomes `unknown` or is left out.
"""

from enum import StrEnum
from typing import Any, Protocol, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

_NANOS = 1_000_000_000
"""A second; whole numbers are added before they are divided, so that nothing is rounded twice."""
_Named = TypeVar("_Named", bound=StrEnum)


class WireEnum(Protocol):
    """An enum as protobuf generates it."""

    def Name(self, number: Any) -> str:  # noqa: N802  Protobuf's own spelling.
        """Return the name of a number; ValueError if there is none."""
        ...


def named(values: type[_Named], wire: WireEnum, number: int) -> _Named:
    """Return the value whose name ends the wire's name; `unknown` for none and for a number from the future."""
    try:
        name = wire.Name(number)
    except ValueError:
        return values["UNKNOWN"]
    return next((value for value in values if name.endswith(f"_{value.name}")), values["UNKNOWN"])


def moment(message: Message, field: str) -> float | None:
    """Return a moment in seconds since 1970; None if it is not set."""
    return unix_seconds(getattr(message, field)) if message.HasField(field) else None


def span(message: Message, field: str) -> float | None:
    """Return a length of time in seconds; None if it is not set."""
    return seconds(getattr(message, field)) if message.HasField(field) else None


def number(message: Message, field: str) -> int | None:
    """Return a whole number; None if it is not set."""
    return int(getattr(message, field)) if message.HasField(field) else None


def unix_seconds(time: Timestamp) -> float:
    """Return a moment in seconds since 1970."""
    return float((time.seconds * _NANOS + time.nanos) / _NANOS)


def seconds(duration: Duration) -> float:
    """Return a length of time in seconds."""
    return float((duration.seconds * _NANOS + duration.nanos) / _NANOS)


def timestamp_message(moment_unix_seconds: float) -> Timestamp:
    """Return a moment as the wire has it, to the microsecond."""
    message = Timestamp()
    message.FromMicroseconds(round(moment_unix_seconds * 1_000_000))
    return message


def duration_message(length_seconds: float) -> Duration:
    """Return a length of time as the wire has it, to the microsecond."""
    duration = Duration()
    duration.FromMicroseconds(round(length_seconds * 1_000_000))
    return duration
