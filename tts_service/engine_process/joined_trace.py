"""Where time went in both processes, in one file on one clock: the front end's spans and those of its engines.

The kernel's monotonic clock is the same in all processes of a machine, so that nothing has to be converted. An engine
writes its spans beside the file; the front end joins what lies there, and takes it away at its end. What an engine
that was killed had not written is lost.
"""

import contextlib
import glob
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import structlog

from tts_service.spans import NO_SPANS, SpanLog, trace_events

_log = structlog.get_logger(__name__)


def engine_part(path: Path) -> Path:
    """Return where an engine, which is this process, writes its spans for a trace."""
    return path.with_name(f".{path.name}.engine-{os.getpid()}")


class JoinedTrace:
    """The front end's spans, and the file; without a path, neither."""

    def __init__(self, path: Path | None, *, clock: Callable[[], float]) -> None:
        self.spans = NO_SPANS if path is None else SpanLog(clock)
        self._path = path
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Take away what engines of others left here."""
        for part in self._parts():
            part.unlink(missing_ok=True)

    def write(self) -> None:
        """Write what is there, all of it or nothing; a failure is logged and nothing more. Takes seconds at most."""
        if self._path is not None:
            with self._lock:
                self._write(self._path)

    def _write(self, path: Path) -> None:
        events = _named("front end", trace_events(self.spans.spans))
        for part in self._parts():
            events += _named("engine", _read(part))
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump({"displayTimeUnit": "ms", "traceEvents": events}, file)
            partial.replace(path)
        except OSError as error:
            _log.warning("trace_not_written", path=str(path), reason=str(error))
        else:
            _log.info("trace_written", path=str(path), spans=sum(event["ph"] != "M" for event in events))
        finally:
            with contextlib.suppress(OSError):  # Where it could not be written there may be nothing to take away.
                partial.unlink(missing_ok=True)

    def end(self) -> None:
        """Write it for the last time."""
        self.write()
        self.begin()

    def _parts(self) -> Iterator[Path]:
        if self._path is not None:
            yield from sorted(self._path.parent.glob(f".{glob.escape(self._path.name)}.engine-*"))

    def __repr__(self) -> str:
        return f"<JoinedTrace {self._path} {self.spans!r}>"


def _read(part: Path) -> list[dict[str, Any]]:
    try:
        events: list[dict[str, Any]] = json.loads(part.read_text(encoding="utf-8"))["traceEvents"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        _log.warning("trace_part_left_out", path=str(part), reason=str(error))
        return []
    return events


def _named(name: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a process's events with its name before them."""
    pids = dict.fromkeys(event["pid"] for event in events)
    return [{"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}} for pid in pids] + events
