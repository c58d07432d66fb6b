"""Spans: the newest are kept, and trace viewers can read them."""

import json
from pathlib import Path

import pytest

from tests.fakes.manual_clock import ManualClock
from tts_service.spans import SpanLog


def test_span_of_a_step_that_fails_is_kept() -> None:
    """Where the time went is most wanted of what went wrong."""
    clock = ManualClock()
    spans = SpanLog(clock)

    def step() -> None:
        with spans.span("mel", on="sound", frames=48):
            clock.advance(0.25)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        step()

    (kept,) = spans.spans
    assert ("mel", "sound", 0.25, (("frames", 48),)) == (
        kept.name,
        kept.on,
        kept.end_seconds - kept.begin_seconds,
        kept.facts,
    )


def test_log_that_is_full_keeps_the_newest() -> None:
    """A service runs for days; its last hour is asked for."""
    spans = SpanLog(ManualClock(), most=2)
    for name in ("first", "second", "third"):
        spans.moment(name, on="session")

    assert ["second", "third"] == [span.name for span in spans.spans]


def test_log_that_is_off_keeps_nothing() -> None:
    """Nobody pays for a trace that nobody wants."""
    spans = SpanLog(ManualClock(), most=0)
    with spans.span("mel", on="sound"):
        pass

    assert ((), False) == (spans.spans, spans.keeps)


def test_written_trace_has_a_row_for_each_place(tmp_path: Path) -> None:
    """Spans are complete events in microseconds, moments are instants, and rows have names."""
    clock = ManualClock()
    spans = SpanLog(clock)
    began_seconds = spans.now()
    clock.advance(0.001)
    spans.began("wait for t3", on="waits", begin_seconds=began_seconds)
    spans.moment("AudioMade", on="session")

    count = spans.write(tmp_path / "trace.json")

    wait_row, session_row, wait, moment = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert ["waits", "session"] == [row["args"]["name"] for row in (wait_row, session_row)]
    assert ("wait for t3", "X", wait_row["tid"]) == (wait["name"], wait["ph"], wait["tid"])
    assert ("AudioMade", "i", session_row["tid"]) == (moment["name"], moment["ph"], moment["tid"])
    assert wait["dur"] == pytest.approx(1_000)
    assert count == 2


def test_trace_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """A folder that has gone is told, and no half of a file is left."""
    spans = SpanLog(ManualClock())
    with pytest.raises(FileNotFoundError):
        spans.write(tmp_path / "gone" / "trace.json")

    assert [] == list(tmp_path.iterdir())
