"""Where the time of a request or of a start went: the newest spans of work, as a file that trace viewers show.

Steps, moves, waits for modules and messages each have a row (`on`). The file is in Chrome's trace event format, which
Perfetto, speedscope and browsers open. Its clock is the machine's monotonic one, so that the traces of two processes,
or a client's own moments, fit together.
"""

import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

MOST_SPANS: Final = 200_000
"""About an hour of one session's speech, and 40 MB."""

Fact = str | int | float

_Kept = tuple[str, str, float, float, Mapping[str, Fact]]
"""A span's fields: hundreds a second are kept, and few are ever looked at."""


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of work, in seconds of the clock. One that ends as it begins is a moment."""

    name: str
    on: str
    begin_seconds: float
    end_seconds: float
    facts: tuple[tuple[str, Fact], ...]


class _Block:
    """Keeps what happens in a `with` statement, however it ends."""

    __slots__ = ("_begin_seconds", "_clock", "_facts", "_kept", "_name", "_on")

    def __init__(
        self, kept: deque[_Kept], clock: Callable[[], float], name: str, on: str, facts: Mapping[str, Fact]
    ) -> None:
        self._kept = kept
        self._clock = clock
        self._name = name
        self._on = on
        self._facts = facts
        self._begin_seconds = 0.0

    def __enter__(self) -> None:
        self._begin_seconds = self._clock()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._kept.append((self._name, self._on, self._begin_seconds, self._clock(), self._facts))

    def __repr__(self) -> str:
        return f"<_Block {self._name!r} on {self._on}>"


_NO_FACTS: Final[Mapping[str, Fact]] = {}


class SpanLog:
    """Keeps the newest spans of all threads; with `most` 0 it keeps nothing, and costs next to nothing."""

    def __init__(self, clock: Callable[[], float], *, most: int = MOST_SPANS) -> None:
        self._clock = clock
        self._spans: deque[_Kept] = deque(maxlen=most)
        self._writing = threading.Lock()

    def __repr__(self) -> str:
        return f"<SpanLog {len(self._spans)} of {self._spans.maxlen} spans>"

    @property
    def keeps(self) -> bool:
        """Whether spans are kept at all."""
        return self._spans.maxlen != 0

    @property
    def spans(self) -> tuple[Span, ...]:
        """What is kept, by the time of its end."""
        return tuple(
            Span(name, on, begin_seconds, end_seconds, tuple(facts.items()))
            for name, on, begin_seconds, end_seconds, facts in tuple(self._spans)
        )

    def span(self, name: str, *, on: str, **facts: Fact) -> _Block:
        """Keep what happens in a block, however it ends."""
        return _Block(self._spans, self._clock, name, on, facts)

    def moment(self, name: str, *, on: str, **facts: Fact) -> None:
        """Keep that something happened now."""
        now_seconds = self._clock()
        self._spans.append((name, on, now_seconds, now_seconds, facts))

    def began(self, name: str, *, on: str, begin_seconds: float) -> None:
        """Keep what began at a time of the clock and ends now."""
        self._spans.append((name, on, begin_seconds, self._clock(), _NO_FACTS))

    def now(self) -> float:
        """Return the clock's time, to keep with `began` later."""
        return self._clock()

    def write(self, path: Path) -> int:
        """Write what is kept, all of it or nothing, and return how many spans that are. Raises OSError."""
        spans = self.spans
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with self._writing:
            try:
                with partial.open("w", encoding="utf-8") as file:
                    json.dump({"displayTimeUnit": "ms", "traceEvents": trace_events(spans)}, file)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return len(spans)


NO_SPANS: Final = SpanLog(time.monotonic, most=0)
"""Keeps nothing."""


def trace_events(spans: tuple[Span, ...]) -> list[dict[str, object]]:
    """Return spans as trace events: rows are threads of this process, in the order of their first end."""
    rows = {on: number for number, on in enumerate(dict.fromkeys(span.on for span in spans), start=1)}
    named: list[dict[str, object]] = [
        {"ph": "M", "name": "thread_name", "pid": os.getpid(), "tid": number, "args": {"name": on}}
        for on, number in rows.items()
    ]
    return named + [_trace_event(span, rows[span.on]) for span in spans]


def _trace_event(span: Span, row: int) -> dict[str, object]:
    event: dict[str, object] = {"name": span.name, "pid": os.getpid(), "tid": row, "ts": 1e6 * span.begin_seconds}
    if span.end_seconds > span.begin_seconds:
        event |= {"ph": "X", "dur": 1e6 * (span.end_seconds - span.begin_seconds)}
    else:
        event |= {"ph": "i", "s": "t"}
    return event | ({"args": dict(span.facts)} if span.facts else {})
