"""Eight stories, five policies: `traces/*.jsonl` and the table beside each; REWRITE_SCENARIOS=1 writes both anew."""

import os
from pathlib import Path

import pytest

from memory_daemon.journal_records import Entry, read_journal
from tests.fakes.trace_comparison import outcomes, table
from tests.fakes.trace_stories import STORIES, lines, told

TRACES = Path(__file__).parent / "traces"


def trace_path(story: str) -> Path:
    """Return where a story's trace is, written anew if that is asked for."""
    path = TRACES / f"{story}.jsonl"
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_bytes(b"".join(lines(told(story))))
    return path


def read(story: str) -> list[Entry]:
    """Return the entries of a story's trace file, all of which can be read."""
    entries = list(read_journal([trace_path(story)]))
    assert all(isinstance(entry, Entry) for entry in entries)
    return [entry for entry in entries if isinstance(entry, Entry)]


@pytest.mark.parametrize("story", STORIES)
def test_trace_of_a_scenario_is_what_its_seeded_story_tells(story: str) -> None:
    """The trace that ships is exactly what the script writes."""
    assert b"".join(lines(told(story))) == trace_path(story).read_bytes()


@pytest.mark.parametrize("story", STORIES)
def test_policies_on_a_scenario_come_to_what_is_written(story: str) -> None:
    """Seconds below the marks, denied neighbours, waits and moves of every policy are as reviewed."""
    path = TRACES / f"{story}.txt"
    actual = table(outcomes(story, read(story))) + "\n"
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(actual)

    assert path.read_text() == actual


@pytest.mark.parametrize("story", [story for story in STORIES if story != "night_and_day"])
def test_policy_on_a_scenario_is_below_critical_no_longer_than_its_rivals(story: str) -> None:
    """What the marks promise is kept better than, or as well as, by those who look once a second."""
    ours, *others = outcomes(story, read(story))
    tolerance_seconds = 0.5

    assert ours.below_critical_seconds <= min(one.below_critical_seconds for one in others) + tolerance_seconds
