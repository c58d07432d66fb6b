"""The policy as it is kept and changed: with its revision, its author and a name for exactly this state."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from memory_daemon.marks import Policy

SCHEMA = 1
BY_CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPolicy:
    """A policy with its history's end; `update_unix_seconds` is None for one that came from the configuration."""

    schema: int = SCHEMA
    policy: Policy
    revision: int = 0
    update_unix_seconds: float | None = None
    updated_by: str = BY_CONFIGURATION

    @property
    def etag(self) -> str:
        """A name for exactly this state of the policy; the same values have the same one after a restart."""
        return f"{self.revision}-{hashlib.sha256(repr(self).encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that is asked for; `etag` empty is based on whatever is in force."""

    apply: Callable[[Policy], Policy]
    etag: str = ""
    requested_by: str = ""
    validate_only: bool = False
