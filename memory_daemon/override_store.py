"""Operators' overrides in force: one for a module, each with its end, kept on disk before it counts."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog
from pydantic import TypeAdapter, ValidationError

from memory_daemon.errors import DaemonError, Reason
from memory_daemon.state_folder import KeptFile, Loaded
from memory_daemon.types import ModuleName, Override, ServiceName

FILE = "overrides.json"
SCHEMA = 1
OVERRIDES_MAXIMUM = 256

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOverrides:
    """The overrides as they are kept."""

    schema: int = SCHEMA
    overrides: tuple[Override, ...] = ()


class OverrideStore:
    """Overrides by service and module, over restarts."""

    def __init__(self, *, folder: Path, unix_clock: Callable[[], float]) -> None:
        self._file = KeptFile(folder / FILE)
        self._unix_clock = unix_clock
        self._lock = threading.Lock()
        self._current: tuple[Override, ...] = ()

    def __repr__(self) -> str:
        return f"<OverrideStore {len(self._current)} overrides>"

    def load(self) -> Loaded[KeptOverrides]:
        """Put in force what an earlier run kept, without what has run out since."""
        loaded = self._file.load(_parse)
        if loaded.value is not None:
            self._current = loaded.value.overrides
        return loaded

    def active(self) -> tuple[Override, ...]:
        """Return those in force now; never waits."""
        now_unix_seconds = self._unix_clock()
        return tuple(override for override in self._current if not _is_over(override, now_unix_seconds))

    def set(self, override: Override) -> None:
        """Put one in force instead of an earlier one for its module.

        Raises DaemonError AT_CAPACITY, or ENGINE_FAULT if it cannot be kept; nothing has changed then.
        """
        with self._lock:
            others = self._without(override.service, override.module)
            if len(others) >= OVERRIDES_MAXIMUM:
                raise DaemonError(Reason.AT_CAPACITY, f"there are {OVERRIDES_MAXIMUM} overrides: clear some")
            self._replace((*others, override))

    def clear(self, service: ServiceName, module: ModuleName) -> Override | None:
        """Take one back and return it, None if there is none; raises DaemonError as `set` does."""
        with self._lock:
            others = self._without(service, module)
            cleared = set(self.active()) - set(others)
            if cleared:
                self._replace(others)
            return next(iter(cleared), None)

    def expire(self) -> tuple[Override, ...]:
        """Drop and return those that have run out by now."""
        now_unix_seconds = self._unix_clock()
        if not any(_is_over(override, now_unix_seconds) for override in self._current):
            return ()
        with self._lock:
            over = tuple(override for override in self._current if _is_over(override, now_unix_seconds))
            self._current = tuple(override for override in self._current if override not in over)
            try:
                self._save(self._current)
            except OSError as error:
                # What has run out is out, kept or not: its end is kept with it.
                _log.warning("overrides_not_kept", error=str(error))
            return over

    def _without(self, service: ServiceName, module: ModuleName) -> tuple[Override, ...]:
        return tuple(known for known in self._current if (known.service, known.module) != (service, module))

    def _replace(self, overrides: tuple[Override, ...]) -> None:
        try:
            self._save(overrides)
        except OSError as error:
            words = f"the override could not be kept, so nothing was changed: {error}"
            raise DaemonError(Reason.ENGINE_FAULT, words) from error
        self._current = overrides

    def _save(self, overrides: tuple[Override, ...]) -> None:
        self._file.save(_codec().dump_json(KeptOverrides(overrides=overrides), indent=2) + b"\n")


def _is_over(override: Override, now_unix_seconds: float) -> bool:
    return override.expire_unix_seconds is not None and override.expire_unix_seconds <= now_unix_seconds


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
