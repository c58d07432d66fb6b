"""The policy in force: changed as one validated whole, kept on disk before it counts, read without waiting.

A change that cannot be kept is no change: what runs is always what a restart would find.
"""

import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from memory_daemon.errors import DaemonError, Reason, bad_config
from memory_daemon.kept_policy import SCHEMA, Change, KeptPolicy, Undo, changed, undone
from memory_daemon.marks import Policy, violations
from memory_daemon.state_folder import KeptFile, Loaded

FILE = "policy.json"


class PolicyStore:
    """The policy in force, over restarts."""

    def __init__(self, *, folder: Path, initial: Policy, unix_clock: Callable[[], float]) -> None:
        self._file = KeptFile(folder / FILE)
        self._unix_clock = unix_clock
        self._initial = initial
        self._lock = threading.Lock()
        self._current = KeptPolicy(policy=initial)

    def __repr__(self) -> str:
        return f"<PolicyStore revision {self._current.revision} by {self._current.updated_by!r}>"

    @property
    def current(self) -> KeptPolicy:
        """The policy in force; never waits for a change that is being kept."""
        return self._current

    @property
    def initial(self) -> Policy:
        """The policy of the configuration: what a number that is not set goes back to."""
        return self._initial

    def load(self) -> Loaded[KeptPolicy]:
        """Put in force what an earlier run kept; a policy changed while running wins over the configuration."""
        loaded = self._file.load(_parse)
        if loaded.value is not None:
            self._current = loaded.value
        return loaded

    def update(self, change: Change, totals_bytes: tuple[int, ...]) -> tuple[KeptPolicy, KeptPolicy]:
        """Return the policy before, and as it is now (or would be).

        Raises DaemonError ETAG_MISMATCH, BAD_CONFIG, or ENGINE_FAULT if it cannot be kept; nothing has changed then.
        """
        with self._lock:
            before = self._based_on(change.etag)
            policy = change.apply(before.policy)
            after = changed(before, policy, by=change.requested_by, unix_seconds=self._unix_clock())
            return self._take(before, after, totals_bytes, validate_only=change.validate_only)

    def undo(self, undo: Undo, totals_bytes: tuple[int, ...]) -> tuple[KeptPolicy, KeptPolicy]:
        """Take changes back and return the policy before, and as it is now (or would be).

        Raises DaemonError as `update` does, and NOTHING_TO_UNDO.
        """
        with self._lock:
            before = self._based_on(undo.etag)
            after = undone(before, undo, unix_seconds=self._unix_clock())
            return self._take(before, after, totals_bytes, validate_only=undo.validate_only)

    def reload(self, initial: Policy, requested_by: str) -> tuple[KeptPolicy, KeptPolicy]:
        """Put a configuration that was read again in force as a whole, and return the policy before and now.

        What was tuned meanwhile goes, and can be had back with `undo`. Raises DaemonError as `update` does.
        """
        change = Change(apply=lambda _: initial, requested_by=requested_by)
        before, after = self.update(change, ())
        self._initial = initial
        return before, after

    def _based_on(self, etag: str) -> KeptPolicy:
        if etag and etag != self._current.etag:
            raise DaemonError(Reason.ETAG_MISMATCH, f"the policy is at etag {self._current.etag}, not {etag}")
        return self._current

    def _take(
        self, before: KeptPolicy, after: KeptPolicy, totals_bytes: tuple[int, ...], *, validate_only: bool
    ) -> tuple[KeptPolicy, KeptPolicy]:
        wrong = violations(after.policy, totals_bytes)
        if wrong:
            raise bad_config(wrong)
        if not validate_only and after is not before:
            self._keep(after)
            self._current = after
        return before, after

    def _keep(self, kept: KeptPolicy) -> None:
        try:
            self._file.save(_codec().dump_json(kept, indent=2) + b"\n")
        except OSError as error:
            words = f"the policy could not be kept, so nothing was changed: {error}"
            raise DaemonError(Reason.ENGINE_FAULT, words) from error


def _parse(data: bytes) -> KeptPolicy:
    try:
        kept = _codec().validate_json(data)
    except ValidationError as error:
        raise ValueError(f"it is no policy: {error.error_count()} fields are wrong") from error
    except AssertionError as error:
        raise ValueError("it is no policy: a mark is neither bytes nor percent") from error
    wrong = violations(kept.policy, ())
    if wrong or kept.schema != SCHEMA:
        words = bad_config(wrong).message if wrong else f"its schema is {kept.schema}, not {SCHEMA}"
        raise ValueError(f"it is no policy: {words}")
    return kept


@cache
def _codec() -> TypeAdapter[KeptPolicy]:
    """Return the codec; built at first use, because nothing runs at import."""
    return TypeAdapter(KeptPolicy)
