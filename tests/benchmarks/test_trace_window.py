"""A stretch of a trace, as benchmarks show it, also where the engine has a process of its own."""

import json
from pathlib import Path

from benchmarks.trace_window import Worked, trace_window


def thread(pid: int, tid: int, name: str) -> dict[str, object]:
    """Return what names a row."""
    return {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}


def span(pid: int, tid: int, name: str, *, begin_ms: float, ms: float) -> dict[str, object]:
    """Return a span's event."""
    return {"ph": "X", "name": name, "pid": pid, "tid": tid, "ts": 1e3 * begin_ms, "dur": 1e3 * ms}


def test_spans_of_two_processes_stand_on_their_own_rows(tmp_path: Path) -> None:
    """Each process counts its rows from the same number, and is named by an event without a row."""
    path = tmp_path / "trace.json"
    events = [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "service"}},
        {"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "engine"}},
        thread(1, 1, "session 1"),
        thread(2, 1, "tokens"),
        span(1, 1, "speak", begin_ms=1_010, ms=5),
        span(2, 1, "prompt", begin_ms=1_004, ms=2),
        span(2, 1, "lease of t3", begin_ms=1_004, ms=2),
        span(2, 1, "step", begin_ms=1_200, ms=2),
    ]
    path.write_text(json.dumps({"traceEvents": events}), encoding="utf-8")
    assert trace_window(path, 1.0, 1.1) == [
        Worked(on="tokens", name="prompt", begin_ms=4.0, ms=2.0),
        Worked(on="session 1", name="speak", begin_ms=10.0, ms=5.0),
    ]
