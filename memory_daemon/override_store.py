"""What operators want beside the policy: an override for a module, a freeze of them all, each with its end.

Both are kept on disk before they count.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from memory_daemon.errors import DaemonError, Reason
from memory_daemon.state_folder import KeptFile, Loaded
from memory_daemon.types import Freeze, ModuleName, Override, ServiceName

FILE = "overrides.json"
SCHEMA = 1
OVERRIDES_MAXIMUM = 256

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOverrides:
    """The overrides as they are kept."""

    schema: int = SCHEMA
    overrides: tuple[Override, ...] = ()
    freeze: Freeze | None = None


class OverrideStore:
    """Overrides by service and module, and the freeze, over restarts."""

    def __init__(self, *, folder: Path, unix_clock: Callable[[], float]) -> None:
        self._file = KeptFile(folder / FILE)
        self._unix_clock = unix_clock
        self._lock = threading.Lock()
        self._current: tuple[Override, ...] = ()
        self._freeze: Freeze | None = None

    def __repr__(self) -> str:
        return f"<OverrideStore {len(self._current)} overrides{' | frozen' if self._freeze else ''}>"

    def load(self) -> Loaded[KeptOverrides]:
        """Put in force what an earlier run kept, without what has run out since."""
        loaded = self._file.load(_parse)
        if loaded.value is not None:
            self._current, self._freeze = loaded.value.overrides, loaded.value.freeze
        return loaded

    def active(self) -> tuple[Override, ...]:
        """Return those in force now; never waits."""
        now_unix_seconds = self._unix_clock()
        return tuple(override for override in self._current if not _is_over(override, now_unix_seconds))

    def freeze(self) -> Freeze | None:
        """Return the freeze in force now, None for none; never waits."""
        freeze = self._freeze
        return None if freeze is None or _is_over(freeze, self._unix_clock()) else freeze

    def set_freeze(self, freeze: Freeze) -> None:
        """Put a freeze in force instead of an earlier one; raises DaemonError ENGINE_FAULT if it cannot be kept."""
        with self._lock:
            self._replace(self._current, freeze)

    def clear_freeze(self) -> Freeze | None:
        """End the freeze and return it, None if there is none; raises DaemonError as `set_freeze` does."""
        with self._lock:
            cleared = self.freeze()
            if self._freeze is not None:
                self._replace(self._current, None)
            return cleared

    def set(self, override: Override) -> None:
        """Put one in force instead of an earlier one for its module.

        Raises DaemonError AT_CAPACITY, or ENGINE_FAULT if it cannot be kept; nothing has changed then.
        """
        with self._lock:
            others = self._without(override.service, override.module)
            if len(others) >= OVERRIDES_MAXIMUM:
                raise DaemonError(Reason.AT_CAPACITY, f"there are {OVERRIDES_MAXIMUM} overrides: clear some")
            self._replace((*others, override), self._freeze)

    def clear(self, service: ServiceName, module: ModuleName) -> Override | None:
        """Take one back and return it, None if there is none; raises DaemonError as `set` does."""
        with self._lock:
            others = self._without(service, module)
            cleared = set(self.active()) - set(others)
            if cleared:
                self._replace(others, self._freeze)
            return next(iter(cleared), None)

    def expire(self) -> tuple[Override, ...]:
        """Drop and return those that have run out by now."""
        now_unix_seconds = self._unix_clock()
        if not any(_is_over(override, now_unix_seconds) for override in self._current):
            return ()
        with self._lock:
            over = tuple(override for override in self._current if _is_over(override, now_unix_seconds))
            self._current = tuple(override for override in self._current if override not in over)
            self._save_end()
            return over

    def expire_freeze(self) -> Freeze | None:
        """Drop and return the freeze if it has run out by now."""
        freeze = self._freeze
        if freeze is None or not _is_over(freeze, self._unix_clock()):
            return None
        with self._lock:
            if self._freeze != freeze:
                return None
            self._freeze = None
            self._save_end()
            return freeze

    def _save_end(self) -> None:
        """Keep that something has run out; it is out, kept or not, because its end is kept with it."""
        try:
            self._save(self._current, self._freeze)
        except OSError as error:
            _log.warning("overrides_not_kept", error=str(error))

    def _without(self, service: ServiceName, module: ModuleName) -> tuple[Override, ...]:
        return tuple(known for known in self._current if (known.service, known.module) != (service, module))

    def _replace(self, overrides: tuple[Override, ...], freeze: Freeze | None) -> None:
        try:
            self._save(overrides, freeze)
        except OSError as error:
            words = f"it could not be kept, so nothing was changed: {error}"
            raise DaemonError(Reason.ENGINE_FAULT, words) from error
        self._current, self._freeze = overrides, freeze

    def _save(self, overrides: tuple[Override, ...], freeze: Freeze | None) -> None:
        self._file.save(_codec().dump_json(KeptOverrides(overrides=overrides, freeze=freeze), indent=2) + b"\n")


def _is_over(wish: Override | Freeze, now_unix_seconds: float) -> bool:
    return wish.expire_unix_seconds is not None and wish.expire_unix_seconds <= now_unix_seconds


def _parse(data: bytes) -> KeptOverrides:
    try:
        kept = _codec().validate_json(data)
    except ValidationError as error:
        raise ValueError(f"it holds no overrides: {error.error_count()} fields are wrong") from error
    if kept.schema != SCHEMA:
        raise ValueError(f"its schema is {kept.schema}, not {SCHEMA}")
    return kept


@cache
def _codec() -> TypeAdapter[KeptOverrides]:
    """Return the codec; built at first use, because nothing runs at import."""
    return TypeAdapter(KeptOverrides)
