"""What can go wrong for an operator: what happened, and the way out. Each knows its exit code.

Two families: `RefusedError` is an answer, `UnreachableError` is the lack of one. The command group prints them;
nothing else does.
"""

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import assert_never

from memctl.format import short_duration
from memctl.sockets import Fault

DAEMON = "memory daemon"
SERVICE = "service"

_HAPPENED: dict[Fault, str] = {
    Fault.MISSING: "No {peer} is running here: there is no socket {path}.",
    Fault.FORBIDDEN: "You may not use the socket of the {peer}, {path}.",
    Fault.FOREIGN: "{path} is no socket, so there is no {peer} behind it.",
    Fault.STALE: "Nobody listens at {path} any more: the {peer} has gone and left its socket behind.",
    Fault.SILENT: "The {peer} at {path} does not answer in time.",
    Fault.LOST: "The {peer} at {path} ended the conversation.",
    Fault.TOO_LONG: "The path {path} is too long for a socket (107 bytes).",
}


class ExitCode(IntEnum):
    """What the command's exit says to a script."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One field at fault, and what is wrong with it."""

    field: str
    description: str


class MemctlError(Exception):
    """A failure as an operator should read it."""

    exit_code = ExitCode.FAILED

    def __init__(
        self, happened: str, *, reason: str, way_out: str = "", violations: tuple[Violation, ...] = ()
    ) -> None:
        super().__init__(happened)
        self.happened = happened
        self.reason = reason
        self.way_out = way_out
        self.violations = violations

    def advise(self, way_out: str) -> "MemctlError":
        """Give a better way out, from a command that knows more; return itself for the raise."""
        self.way_out = way_out
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.reason}: {self.happened}>"


class RefusedError(MemctlError):
    """The other side answered no. `metadata` holds the dynamic values of its message."""

    def __init__(
        self,
        happened: str,
        *,
        reason: str,
        way_out: str = "",
        violations: tuple[Violation, ...] = (),
        metadata: dict[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        again = "" if retry_after_seconds is None else f"Try again in {short_duration(retry_after_seconds)}."
        super().__init__(happened, reason=reason, way_out=way_out or again, violations=violations)
        self.metadata = metadata or {}
        self.retry_after_seconds = retry_after_seconds


class UnreachableError(MemctlError):
    """Nobody answered in time."""

    exit_code = ExitCode.UNREACHABLE

    def __init__(self, peer: str, path: Path, fault: Fault) -> None:
        super().__init__(
            _HAPPENED[fault].format(peer=peer, path=path), reason=f"SOCKET_{fault.name}", way_out=_way_out(peer, fault)
        )
        self.peer = peer
        self.path = path
        self.fault = fault


def _way_out(peer: str, fault: Fault) -> str:
    command, option = ("memory-daemon", "--socket") if peer == DAEMON else ("tts-service", "--service")
    match fault:
        case Fault.MISSING | Fault.STALE:
            return f"Start it with `{command}`, or name another with {option}."
        case Fault.FORBIDDEN:
            return "Run this as the user that started it, or join the group that owns the socket."
        case Fault.SILENT:
            return "Look at its log; give it longer with --timeout; as a last resort restart it."
        case Fault.LOST:
            return "It may be restarting: try again; if this lasts, look at its log."
        case Fault.FOREIGN | Fault.TOO_LONG:
            return f"Name another with {option}."
    assert_never(fault)
