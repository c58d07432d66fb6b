"""One trace of two processes: both are in it, what is damaged is left out, and nothing is left beside it."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tts_service.engine_process import joined_trace
from tts_service.engine_process.joined_trace import JoinedTrace, engine_part
from tts_service.spans import SpanLog


def written(path: Path) -> list[dict[str, Any]]:
    """Return a trace's events."""
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return events


def clock() -> Callable[[], float]:
    """Return a clock that goes on by a second each time it is looked at."""
    seconds = iter(range(100))
    return lambda: float(next(seconds))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a trace goes; its name is no pattern."""
    return tmp_path / "run[1].json"


def test_both_processes_are_in_one_trace_on_one_clock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each under its name, with the times that it noted; at the end only the trace is there."""
    both = clock()
    trace, engine = JoinedTrace(path, clock=both), SpanLog(both)
    trace.begin()
    with trace.spans.span("order", on="sent"), engine.span("step", on="tokens"):
        pass
    monkeypatch.setattr("os.getpid", lambda: 7)
    engine.write(engine_part(path))
    monkeypatch.undo()
    trace.end()
    events = written(path)
    spans = {event["name"]: (event["ts"], event["dur"]) for event in events if event["ph"] == "X"}
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}

    assert {"order": (0.0, 3e6), "step": (1e6, 1e6)} == spans
    assert (["engine", "front end"], "engine") == (sorted(names.values()), names[7])
    assert [path] == list(path.parent.iterdir())


def test_two_who_write_at_once_leave_one_trace(path: Path) -> None:
    """An operator asks for it in the moment in which the engine has written its part."""
    trace = JoinedTrace(path, clock=time.monotonic)
    for number in range(2_000):
        trace.spans.moment(f"moment {number}", on="sent")
    with capture_logs() as logged:
        threads = [threading.Thread(target=trace.write) for _ in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    assert {"trace_written"} == {each["event"] for each in logged}
    assert len(written(path)) > 2_000
    assert [path] == list(path.parent.iterdir())


def test_what_is_no_trace_is_left_out(path: Path) -> None:
    """An engine that was killed while it wrote takes nothing from the others."""
    trace = JoinedTrace(path, clock=clock())
    trace.spans.moment("order", on="sent")
    engine_part(path).write_text('{"traceEvents": [')
    trace.write()

    assert ["order"] == [event["name"] for event in written(path) if event["ph"] != "M"]


def test_parts_of_an_earlier_service_are_taken_away(path: Path) -> None:
    """What engines of another front end left has another beginning."""
    engine_part(path).write_text("{}")
    JoinedTrace(path, clock=clock()).begin()

    assert [] == list(path.parent.iterdir())


def test_trace_that_cannot_be_written_is_only_logged(path: Path) -> None:
    """A service does not end otherwise because a disk is full."""
    trace = JoinedTrace(path / "nowhere", clock=clock())
    trace.spans.moment("order", on="sent")
    trace.end()

    assert not path.exists()


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    """Nobody pays for a trace that nobody wants."""
    trace = JoinedTrace(None, clock=clock())
    trace.spans.moment("order", on="sent")
    trace.end()

    assert (False, []) == (trace.spans.keeps, list(tmp_path.iterdir()))
    assert joined_trace.NO_SPANS is trace.spans
