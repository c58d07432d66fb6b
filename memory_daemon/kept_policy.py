"""The policy as it is kept and changed: with its revision, its author, and what it was before, so that it can go back.

Pure. Going back is a change like any other and makes a new revision; what was taken back is not offered again, so that
going back twice goes back two changes.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from memory_daemon.errors import DaemonError, FieldViolation, Reason, bad_config
from memory_daemon.marks import Policy, changes

SCHEMA = 1
BY_CONFIGURATION = "configuration"
EARLIER_MAXIMUM = 50
"""Changes that can be taken back: more than an operator makes in a day of tuning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPolicy:
    """A policy that was in force; `update_unix_seconds` is None for one that came from the configuration."""

    policy: Policy
    revision: int
    update_unix_seconds: float | None
    updated_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """A policy with what was before it, newest first; `update_unix_seconds` None: it came from the configuration."""

    schema: int = SCHEMA
    policy: Policy
    revision: int = 0
    update_unix_seconds: float | None = None
    updated_by: str = BY_CONFIGURATION
    earlier: tuple[EarlierPolicy, ...] = ()

    @property
    def etag(self) -> str:
        """A name for exactly this state of the policy; the same values have the same one after a restart."""
        state = (self.policy, self.revision, self.update_unix_seconds, self.updated_by)
        return f"{self.revision}-{hashlib.sha256(repr(state).encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that is asked for; `etag` empty is based on whatever is in force."""

    apply: Callable[[Policy], Policy]
    etag: str = ""
    requested_by: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Changes that are to be taken back: all since `revision`, None for the newest alone."""

    revision: int | None = None
    etag: str = ""
    requested_by: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change that was made: who, when, and each number from what to what."""

    revision: int
    update_unix_seconds: float | None
    updated_by: str
    numbers: dict[str, tuple[str, str]]


def changed(before: KeptPolicy, policy: Policy, *, by: str, unix_seconds: float) -> KeptPolicy:
    """Return the state after a change; the same numbers again are the same state."""
    if policy == before.policy:
        return before
    return KeptPolicy(
        policy=policy,
        revision=before.revision + 1,
        update_unix_seconds=unix_seconds,
        updated_by=by,
        earlier=(_as_earlier(before), *before.earlier)[:EARLIER_MAXIMUM],
    )


def undone(before: KeptPolicy, undo: Undo, *, unix_seconds: float) -> KeptPolicy:
    """Return the state after changes were taken back; raises DaemonError NOTHING_TO_UNDO or BAD_CONFIG."""
    at = _place(before, undo.revision)
    return KeptPolicy(
        policy=before.earlier[at].policy,
        revision=before.revision + 1,
        update_unix_seconds=unix_seconds,
        updated_by=undo.requested_by,
        earlier=before.earlier[at + 1 :],
    )


def steps(kept: KeptPolicy) -> tuple[Step, ...]:
    """Return the changes that can be taken back, newest first."""
    states = (_as_earlier(kept), *kept.earlier)
    return tuple(
        Step(
            revision=after.revision,
            update_unix_seconds=after.update_unix_seconds,
            updated_by=after.updated_by,
            numbers=changes(before.policy, after.policy),
        )
        for after, before in pairwise(states)
    )


def _place(kept: KeptPolicy, revision: int | None) -> int:
    if not kept.earlier:
        raise DaemonError(Reason.NOTHING_TO_UNDO, "no change of the policy is left to be taken back")
    revisions = [one.revision for one in kept.earlier]
    if revision is None:
        return 0
    if revision not in revisions:
        words = f"must be one of {', '.join(map(str, revisions))}, not {revision}"
        raise bad_config((FieldViolation(field="revision", description=words),))
    return revisions.index(revision)


def _as_earlier(kept: KeptPolicy) -> EarlierPolicy:
    return EarlierPolicy(
        policy=kept.policy,
        revision=kept.revision,
        update_unix_seconds=kept.update_unix_seconds,
        updated_by=kept.updated_by,
    )
