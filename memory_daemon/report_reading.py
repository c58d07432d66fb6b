"""Turns one service's reports into values; what a report says as the one before said it is the same value again.

A service reports every second that little or nothing has changed. The messages are compared in C, which is a tenth of
what it costs to make values of them; and whoever looks at two reports sees at once that they share their modules.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, repeat

from greenroom.memory.v1 import residency_pb2
from memory_daemon.residency_messages import module_of, report_of, unix_seconds_of
from memory_daemon.types import ModuleStatus, ResidencyReport


class ReportReading:
    """The newest report of a service, as a message and as a value."""

    def __init__(self) -> None:
        self._message = residency_pb2.ResidencyReport()
        self._value: ResidencyReport | None = None
        self._modules: list[tuple[residency_pb2.ModuleStatus, ModuleStatus | None]] = []

    def __repr__(self) -> str:
        return f"<ReportReading {len(self._modules)} modules>"

    def value_of(self, message: residency_pb2.ResidencyReport) -> ResidencyReport:
        """Return a report; the message is taken over, and is not to be used afterwards."""
        unix_seconds, process_bytes = unix_seconds_of(message.time), message.process_bytes
        message.ClearField("time")
        message.ClearField("process_bytes")
        if self._value is None or message != self._message:
            self._value, self._message = report_of(message, self._statuses(message.modules)), message
        self._value = replace(self._value, unix_seconds=unix_seconds, process_bytes=process_bytes)
        return self._value

    def _statuses(self, messages: Sequence[residency_pb2.ModuleStatus]) -> tuple[ModuleStatus, ...]:
        """Return the modules, but for those that cannot be governed; one that is as it was is the value that it was."""
        self._modules = [
            before if before is not None and before[0] == message else (message, module_of(message))
            for message, before in zip(messages, chain(self._modules, repeat(None)), strict=False)
        ]
        return tuple(status for _, status in self._modules if status is not None)
