"""What operators change, written down: who, when, from what to what; in the journal and in the log."""

from collections.abc import Callable
from typing import Literal

import structlog

from memory_daemon.journal_records import FreezeChanged, OverrideChanged, PolicyChanged, Record
from memory_daemon.kept_policy import KeptPolicy
from memory_daemon.marks import changes
from memory_daemon.types import Freeze, Override

Wished = Literal["set", "cleared"]

_log = structlog.get_logger(__name__)


class Audit:
    """Writes each change through `write`, and wakes the loop to act on it."""

    def __init__(self, *, write: Callable[[Record], None], wake: Callable[[], None]) -> None:
        self._write = write
        self._wake = wake

    def __repr__(self) -> str:
        return "<Audit>"

    def policy(self, before: KeptPolicy, after: KeptPolicy, *, undo: bool = False) -> None:
        """Note that the policy was changed, or changes were taken back; nothing if it is the same."""
        if after is before:
            return
        changed, by = changes(before.policy, after.policy), after.updated_by
        self._write(
            PolicyChanged(requested_by=by, revision=after.revision, changes=changed, policy=after.policy, undo=undo)
        )
        _log.info("policy_undone" if undo else "policy_changed", by=by, revision=after.revision, changes=changed)
        self._wake()

    def override(self, change: Wished, requested_by: str, override: Override) -> None:
        """Note that an override was set or cleared."""
        self._write(OverrideChanged(change=change, requested_by=requested_by, override=override))
        _log.info(
            f"override_{change}",
            by=requested_by,
            service=override.service,
            module=override.module,
            override=override.kind.value,
        )
        self._wake()

    def freeze(self, change: Wished, requested_by: str, freeze: Freeze) -> None:
        """Note that a freeze was set or cleared."""
        self._write(FreezeChanged(change=change, requested_by=requested_by, freeze=freeze))
        _log.info(f"freeze_{change}", by=requested_by, expire_unix_seconds=freeze.expire_unix_seconds)
        self._wake()
