"""The policy in force: changed as one validated whole, kept on disk before it counts, read without waiting.

A change that cannot be kept is no change: what runs is always what a restart would find.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from memory_daemon.errors import DaemonError, Reason, bad_config
from memory_daemon.kept_policy import SCHEMA, Change, KeptPolicy
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
            before = self._current
            if change.etag and change.etag != before.etag:
                raise DaemonError(Reason.ETAG_MISMATCH, f"the policy is at etag {before.etag}, not {change.etag}")
            after = self._changed(before, change, totals_bytes)
            if not change.validate_only and after is not before:
                self._keep(after)
                self._current = after
            return before, after

    def _changed(self, before: KeptPolicy, change: Change, totals_bytes: tuple[int, ...]) -> KeptPolicy:
        policy = change.apply(before.policy)
        wrong = violations(policy, totals_bytes)
        if wrong:
            raise bad_config(wrong)
        if policy == before.policy:
            return before
        return replace(
            before,
            policy=policy,
            revision=before.revision + 1,
            update_unix_seconds=self._unix_clock(),
            updated_by=change.requested_by,
        )

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
